// Command kubernetes is the control plane of the test bed in one binary: etcd, kube-apiserver, kube-controller-manager
// and kubectl share most of their packages, so together they compile once and link once.
//
// Which program it is comes from its own file name (the build makes a link for each), else from the first argument.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics of the controller manager
	_ "k8s.io/component-base/metrics/prometheus/version"  // build_info, which the version stamp fills in
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// programs by name. None of them returns before its program has ended.
var programs = map[string]func(args []string){
	"etcd":                    etcdmain.Main,
	"kube-apiserver":          func([]string) { serve(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func([]string) { serve(controllermanager.NewControllerManagerCommand()) },
	"kubectl":                 func([]string) { runKubectl() },
}

func serve(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// runKubectl reports errors the way kubectl does, with its hints and exit codes.
func runKubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

func main() {
	args := os.Args
	program, found := programs[filepath.Base(args[0])]
	if !found && len(args) > 1 {
		args = args[1:]
		program, found = programs[args[0]]
	}
	if !found {
		names := slices.Sorted(maps.Keys(programs))
		fmt.Fprintf(os.Stderr, "usage: kubernetes %s [arguments]\n", strings.Join(names, "|"))
		os.Exit(2)
	}
	os.Args = args // cobra and flag read it
	program(args)
}
