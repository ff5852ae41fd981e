//! Signatures come and go with tokens.

use super::*;

#[test]
fn a_map_carries_the_signatures_of_its_tokens_and_no_others() {
    let map = json!({ "data": { "kubeconfig": "payload", "jws-kubeconfig-old": "x" } });
    let tokens = BTreeMap::from([("abcdef".to_owned(), "0123456789abcdef".to_owned())]);
    let data = plan(&map, &tokens).unwrap();
    assert_eq!(data.as_object().unwrap().len(), 2);
    let signature = data["jws-kubeconfig-abcdef"].as_str().unwrap();
    let (header, rest) = signature.split_once("..").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"HS256","kid":"abcdef"}"#);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"0123456789abcdef");
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("payload"));
    ring::hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(rest).unwrap()).unwrap();
    assert_eq!(plan(&json!({ "data": data }), &tokens), None);
    assert_eq!(plan(&json!({ "data": {} }), &tokens), None);
}
