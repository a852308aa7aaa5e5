package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"hooksmith/publish/check"
	"hooksmith/publish/sign"
)

// checkFlags are those of check.
type checkFlags struct {
	arch   string
	ram    int64
	key    string
	cacert string
	forWho string
	worker string
	json   bool
	colour string
}

func newCheck(a *app) *cobra.Command {
	f := checkFlags{arch: "x86_64", forWho: "eks-anywhere", worker: check.Worker, colour: "auto"}
	cmd := &cobra.Command{
		Use:   "check URL|FOLDER",
		Short: "Try what stands at a hookImagesURLPath",
		Long: `Do with a URL what EKS Anywhere, Smee, iPXE, UEFI HTTP boot and a BMC will do with it, and
look into what they would get: answers, lengths, ranges, redirects, certificate, kernel,
initramfs, architecture, Docker and the worker image, memory, and the hashes and signature
of hook.json. A URL that ends in .iso is tried as a hookIsoURL. Of a folder, only what is
in it is looked at. Both files are downloaded, and no proxy is used.

What fails keeps machines from booting, and the exit code is then 1; what is warned of
works for some. Each comes with the way out.`,
		Example: `  hooksmith check http://192.168.2.1/hook
  hooksmith check out/hook --ram 2048 --for tinkerbell
  hooksmith check https://files.example.com/hook --key hook.pub --json | jq -r '.results[] | select(.status == "fail") | .fix'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.check(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.Var(&choice{&f.arch, []string{"x86_64", "aarch64"}}, "arch", "architecture of the machines")
	flags.Int64Var(&f.ram, "ram", 0, "memory of the smallest machine in `MIB`")
	flags.StringVar(&f.key, "key", "", "refuse what is not signed by this public key `FILE`")
	flags.StringVar(&f.cacert, "cacert", "", "`FILE` with the certificate authorities to trust (default the system's)")
	flags.Var(&choice{&f.forWho, []string{"eks-anywhere", "tinkerbell"}}, "for", "who boots it: eks-anywhere needs an embedded worker, tinkerbell pulls it")
	flags.StringVar(&f.worker, "worker", f.worker, "`IMAGE` of the worker that has to be embedded")
	flags.BoolVar(&f.json, "json", false, "print the results as JSON")
	addColour(cmd, &f.colour)
	return cmd
}

func (a *app) check(cmd *cobra.Command, target string, f checkFlags) error {
	if err := refuseEmpty(cmd); err != nil {
		return err
	}
	opt := check.Options{Begin: a.download, Arch: f.arch, RAMMiB: f.ram, Worker: f.worker, NoWorker: f.forWho == "tinkerbell"}
	if f.ram < 0 {
		return usagef("--ram %d: give a number of MiB, for example 2048", f.ram)
	}
	var err error
	if f.key != "" {
		if opt.Key, err = sign.ReadPublicKey(f.key); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	if f.cacert != "" {
		if opt.Roots, err = readRoots(f.cacert); err != nil {
			return fmt.Errorf("--cacert: %w", err)
		}
	}
	report, err := check.Run(cmd.Context(), target, opt)
	if err != nil {
		return err
	}
	if f.json {
		err = a.printJSON(report)
	} else {
		err = report.WriteText(a.stdout, a.style(f.colour, false))
	}
	if err == nil && !report.OK {
		err = fmt.Errorf("%s: %s", target, report.Summary())
	}
	return err
}

// download shows one as it goes.
func (a *app) download(name string, size int64) (add func(n int64), done func(err error)) {
	task := a.progress.Begin(name, max(size, 0))
	return task.Add, task.Done
}

func readRoots(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: there is no certificate in it; PEM is expected", path)
	}
	return pool, nil
}
