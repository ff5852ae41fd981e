// A program of the JavaScript client: objects, patches, watches, an informer, a shell in a container, logs and custom
// objects. Ends with an error if the server answers anything but what upstream would.
import assert from 'node:assert';
import { PassThrough, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = 'node';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

async function refused(code, call) {
  const error = await call().then(() => assert.fail('it was not refused'), (error) => error);
  assert.equal(error.code, code, String(error));
}

function sink(chunks) {
  return new Writable({ write(chunk, _, done) { chunks.push(chunk.toString()); done(); } });
}

async function plain() {
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  const body = { metadata: { name: 'data', labels: { set: 'one' } }, data: { a: '1' } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  assert.ok(made.metadata.creationTimestamp instanceof Date && made.metadata.uid);
  await refused(409, () => core.createNamespacedConfigMap({ namespace, body }));
  await refused(404, () => core.readNamespacedConfigMap({ namespace, name: 'nothing' }));
  const patched = await core.patchNamespacedConfigMap(
    { namespace, name: 'data', body: { data: { b: '2' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  assert.deepEqual(patched.data, { a: '1', b: '2' });
  const applied = await objects.patch(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'data', namespace }, data: { c: '3' } },
    undefined, undefined, 'node', true, k8s.PatchStrategy.ServerSideApply,
  );
  assert.equal(applied.data.c, '3');
  const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'set=one' });
  assert.equal(listed.items.length, 1);
}

async function informer() {
  const list = () => core.listNamespacedSecret({ namespace });
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/secrets`, list);
  const next = (verb) => new Promise((resolve, reject) => { informer.on(verb, resolve); informer.on('error', reject); });
  const [added, changed, deleted] = ['add', 'update', 'delete'].map(next);
  await informer.start();
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'seen' }, stringData: { a: 'b' } } });
  assert.equal((await added).data.a, Buffer.from('b').toString('base64'));
  const label = [{ op: 'add', path: '/metadata/labels', value: { by: 'node' } }];
  await core.patchNamespacedSecret({ namespace, name: 'seen', body: label },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch));
  assert.equal((await changed).metadata.labels.by, 'node');
  await core.deleteNamespacedSecret({ namespace, name: 'seen' });
  assert.equal((await deleted).metadata.name, 'seen');
  await informer.stop();
}

async function pods() {
  const container = { name: 'main', image: 'busybox:1', command: ['sh', '-c', 'echo ready; exec sleep 3600'] };
  const body = { metadata: { name: 'one' }, spec: { containers: [container], terminationGracePeriodSeconds: 0 } };
  await core.createNamespacedPod({ namespace, body });
  const watch = new k8s.Watch(config);
  await new Promise((resolve, reject) => {
    const query = { fieldSelector: 'metadata.name=one', timeoutSeconds: 60 };
    const seen = (_, pod) => { if (pod.status?.phase === 'Running') resolve(); };
    watch.watch(`/api/v1/namespaces/${namespace}/pods`, query, seen, () => reject(new Error('it never ran')))
      .then(() => {}, reject);
  });
  const said = [];
  const status = await new Promise((resolve, reject) => {
    const command = ['sh', '-c', 'read word; echo "$word"; exit 3'];
    const input = new PassThrough();
    input.end('hello\n');
    new k8s.Exec(config).exec(namespace, 'one', 'main', command, sink(said), process.stderr, input, false, resolve)
      .catch(reject);
  });
  assert.equal(said.join('').trim(), 'hello');
  assert.equal(status.status, 'Failure');
  assert.equal(status.details.causes[0].message, '3');
  const log = await core.readNamespacedPodLog({ namespace, name: 'one', container: 'main' });
  assert.equal(log.trim(), 'ready');
}

async function customs() {
  const spec = {
    group: 'node.example.com', scope: 'Namespaced', names: { plural: 'cups', singular: 'cup', kind: 'Cup' },
    versions: [{
      name: 'v1', served: true, storage: true, subresources: { status: {} },
      // The client has names of its own for what is no JavaScript name.
      schema: { openAPIV3Schema: { type: 'object', x_kubernetes_preserve_unknown_fields: true } },
    }],
  };
  const definition = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'cups.node.example.com' }, spec };
  await objects.create(definition);
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const where = { group: 'node.example.com', version: 'v1', namespace, plural: 'cups' };
  const body = { apiVersion: 'node.example.com/v1', kind: 'Cup', metadata: { name: 'one' }, spec: { full: true } };
  for (let tries = 0; ; tries += 1) {
    try {
      await custom.createNamespacedCustomObject({ ...where, body });
      break;
    } catch (error) {
      // Served within a second of its definition.
      if (error.code !== 404 || tries > 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const found = await custom.getNamespacedCustomObject({ ...where, name: 'one' });
  assert.equal(found.spec.full, true);
  await objects.delete(definition);
}

await plain();
await informer();
await pods();
await customs();
await core.deleteNamespace({ name: namespace });
console.log('node: all well');
process.exit(0);
