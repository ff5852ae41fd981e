// A program of client-go: typed clients that speak protobuf, informers, patches, apply configurations, leader election
// and the dynamic client. Ends with an error if the server answers anything but what upstream would.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const namespace = "client-go"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	fmt.Println("client-go: all well")
}

func run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func() error
	}{
		{"discovery", func() error { return discovery(client) }},
		{"a namespace", func() error {
			_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			return err
		}},
		{"objects of the core", func() error { return objects(ctx, client) }},
		{"an informer", func() error { return informer(ctx, client) }},
		{"server-side apply", func() error { return apply(ctx, client) }},
		{"a deployment", func() error { return deployment(ctx, client) }},
		{"the dynamic client and metadata", func() error { return untyped(ctx, config) }},
		{"leader election", func() error { return election(ctx, client) }},
		{"the namespace's end", func() error {
			return client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		}},
	}
	for _, step := range steps {
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func discovery(client kubernetes.Interface) error {
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	if version.Major != "1" || version.Minor != "37" {
		return fmt.Errorf("version %s.%s", version.Major, version.Minor)
	}
	_, lists, err := client.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if list.GroupVersion == "apps/v1" && resource.Name == "deployments" && resource.Kind == "Deployment" {
				return nil
			}
		}
	}
	return errors.New("no deployments in apps/v1")
}

func objects(ctx context.Context, client kubernetes.Interface) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	created, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "some-", Labels: map[string]string{"set": "one"}},
		Data:       map[string]string{"a": "1"},
		BinaryData: map[string][]byte{"b": {0, 255, 7}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if created.UID == "" || created.ResourceVersion == "" || len(created.BinaryData["b"]) != 3 {
		return fmt.Errorf("created %v", created)
	}
	if _, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: created.Name}}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a second one: %v", err)
	}
	stale := created.DeepCopy()
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current, err := maps.Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		current.Data["a"] = "2"
		_, err = maps.Update(ctx, current, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	stale.Data["a"] = "3"
	if _, err = maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update: %v", err)
	}
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"replace","path":"/data/a","value":"4"}]`,
		types.MergePatchType:          `{"data":{"c":"5"}}`,
		types.StrategicMergePatchType: `{"metadata":{"labels":{"by":"patch"}}}`,
	} {
		if _, err = maps.Patch(ctx, created.Name, kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	listed, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "set=one,by in (patch)"})
	if err != nil {
		return err
	}
	if len(listed.Items) != 1 || listed.Items[0].Data["a"] != "4" || listed.Items[0].Data["c"] != "5" {
		return fmt.Errorf("listed %v", listed.Items)
	}
	if _, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "Not a name"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		return fmt.Errorf("a bad name: %v", err)
	}
	if err = maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "set=one"}); err != nil {
		return err
	}
	if _, err = maps.Get(ctx, created.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("after its deletion: %v", err)
	}
	return nil
}

func informer(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	secrets := factory.Core().V1().Secrets()
	events := make(chan string, 16)
	_, err := secrets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { events <- "add " + object.(*corev1.Secret).Name },
		UpdateFunc: func(_, object any) { events <- "update " + object.(*corev1.Secret).Name },
		DeleteFunc: func(object any) { events <- "delete " + object.(*corev1.Secret).Name },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %v is not full", kind)
		}
	}
	expect := func(want string) error {
		select {
		case got := <-events:
			if got != want {
				return fmt.Errorf("event %q in place of %q", got, want)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("no event %q", want)
		}
	}
	secret, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "seen"}, StringData: map[string]string{"key": "value"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if string(secret.Data["key"]) != "value" {
		return fmt.Errorf("data %v", secret.Data)
	}
	if err = expect("add seen"); err != nil {
		return err
	}
	secret.Data["key"] = []byte("other")
	if _, err = client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err = expect("update seen"); err != nil {
		return err
	}
	kept, err := secrets.Lister().Secrets(namespace).List(labels.Everything())
	if err != nil || len(kept) != 1 || string(kept[0].Data["key"]) != "other" {
		return fmt.Errorf("the cache holds %v: %w", kept, err)
	}
	if err = client.CoreV1().Secrets(namespace).Delete(ctx, "seen", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return expect("delete seen")
}

func apply(ctx context.Context, client kubernetes.Interface) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	one := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"a": "1", "b": "2"})
	if _, err := maps.Apply(ctx, one, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	two := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"a": "9"})
	if _, err := maps.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		return fmt.Errorf("another's field: %v", err)
	}
	if _, err := maps.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two", Force: true}); err != nil {
		return err
	}
	live, err := maps.Get(ctx, "applied", metav1.GetOptions{})
	if err != nil {
		return err
	}
	extracted, err := applycorev1.ExtractConfigMap(live, "one")
	if err != nil {
		return err
	}
	if live.Data["a"] != "9" || len(extracted.Data) != 1 || extracted.Data["b"] != "2" {
		return fmt.Errorf("data %v, of one %v", live.Data, extracted.Data)
	}
	return nil
}

func deployment(ctx context.Context, client kubernetes.Interface) error {
	replicas := int32(2)
	label := map[string]string{"app": "go"}
	deployments := client.AppsV1().Deployments(namespace)
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: label},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: label},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox:1", Command: []string{"sleep", "3600"}}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	watch, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if found, ok := event.Object.(*appsv1.Deployment); ok && found.Status.AvailableReplicas == 2 {
			scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
			if err != nil || scale.Status.Replicas != 2 || scale.Status.Selector != "app=go" {
				return fmt.Errorf("scale %v: %w", scale, err)
			}
			scale.Spec.Replicas = 0
			_, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
			return err
		}
	}
	return errors.New("it never became available")
}

func untyped(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	services := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace(namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{"selector": map[string]any{"app": "go"}, "ports": []any{map[string]any{"port": int64(80)}}},
	}}
	created, err := services.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if address, _, _ := unstructured.NestedString(created.Object, "spec", "clusterIP"); address == "" {
		return errors.New("a service without an address")
	}
	partial, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	listed, err := partial.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(listed.Items) != 1 || listed.Items[0].Name != "web" {
		return fmt.Errorf("metadata %v: %w", listed, err)
	}
	return services.Delete(ctx, "web", metav1.DeleteOptions{})
}

func election(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "leader"},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"},
	}
	led := false
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { led = true; cancel() },
			OnStoppedLeading: func() {},
		},
	})
	if !led {
		return errors.New("never the leader")
	}
	return nil
}
