// An operator of controller-runtime: a custom resource Echo whose controller keeps a ConfigMap for each, writes its
// status, and sets a finalizer that it removes at the end. Runs until it is interrupted.
package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.com/echo"

// Echo says a text.
type Echo struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Text string `json:"text"`
	} `json:"spec"`
	Status struct {
		Said string `json:"said,omitempty"`
	} `json:"status,omitempty"`
}

// EchoList is a list of them.
type EchoList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Echo `json:"items"`
}

// DeepCopyObject copies it.
func (echo *Echo) DeepCopyObject() runtime.Object {
	out := *echo
	echo.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject copies it.
func (list *EchoList) DeepCopyObject() runtime.Object {
	out := *list
	out.Items = make([]Echo, len(list.Items))
	for index := range list.Items {
		out.Items[index] = *list.Items[index].DeepCopyObject().(*Echo)
	}
	return &out
}

type reconciler struct {
	client.Client
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var echo Echo
	if err := r.Get(ctx, request.NamespacedName, &echo); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !echo.DeletionTimestamp.IsZero() {
		controllerutil.RemoveFinalizer(&echo, finalizer)
		return ctrl.Result{}, r.Update(ctx, &echo)
	}
	if controllerutil.AddFinalizer(&echo, finalizer) {
		if err := r.Update(ctx, &echo); err != nil {
			return ctrl.Result{}, conflictIsNoError(err)
		}
	}
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: echo.Namespace, Name: "echo-" + echo.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, kept, func() error {
		kept.Data = map[string]string{"text": echo.Spec.Text}
		return controllerutil.SetControllerReference(&echo, kept, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, conflictIsNoError(err)
	}
	if echo.Status.Said != echo.Spec.Text {
		echo.Status.Said = echo.Spec.Text
		return ctrl.Result{}, conflictIsNoError(r.Status().Update(ctx, &echo))
	}
	return ctrl.Result{}, nil
}

// The change that conflicts is an event of its own.
func conflictIsNoError(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func run() error {
	ctrl.SetLogger(zap.New())
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	version := schema.GroupVersion{Group: "example.com", Version: "v1"}
	scheme.AddKnownTypes(version, &Echo{}, &EchoList{})
	metav1.AddToGroupVersion(scheme, version)
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Metrics:                 server.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "echo.example.com",
		LeaderElectionNamespace: "default",
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).For(&Echo{}).Owns(&corev1.ConfigMap{}).Complete(&reconciler{manager.GetClient()})
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}
