package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/serve"
	"hooksmith/serve/doctor"
)

// doctorFlags say where to look and what to expect.
type doctorFlags struct {
	serveFlags
	device, mac, expect, server, cacert, colour string
	full, quick, asJSON                         bool
	wait                                        time.Duration
	arch                                        []string
}

func newDoctor(a *app) *cobra.Command {
	o := doctorFlags{colour: "auto"}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why machines do not boot from a network",
		Long: `Play every kind of machine that boots from this network, and say what is wrong: BIOS,
x64, IA32 and arm64 by PXE, UEFI HTTP boot, iPXE with the user class Tinkerbell and
without, and a client that does not boot at all. Every DHCP and proxy server that answers
is heard; what they name is fetched by TFTP and HTTP as firmware and iPXE do, scripts are
run as far as iPXE would, kernel and initramfs are held against hook.json.

It changes nothing: it sends DHCPDISCOVER and takes no lease, unless --full-exchange says
so. It needs the right to send raw packets (CAP_NET_RAW); with CAP_NET_BIND_SERVICE alone
it hears answers by broadcast, and with neither it fetches what --expect promises.

The exit code is 1 if there is a problem. --json has the same for scripts: schema, healthy,
interface, address, mac, servers, clients with their answers and steps, findings with code,
severity, clients, server, text, do and lines; fields are only added.`,
		Example: `  # what is on this network
  sudo hooksmith doctor --interface eth0

  # whether the network does what a boot server's configuration says, for one machine
  sudo hooksmith doctor --interface eth0 --expect serve.yaml --server 10.0.0.1 --mac 52:54:00:12:34:56

  # in a script
  sudo hooksmith doctor --interface eth0 --json | jq -r '.findings[].code'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			return o.run(cmd.Context(), a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.device, "interface", "", "`INTERFACE` to look at (default the only one)")
	f.StringVar(&o.expect, "expect", "", "`FILE` with the configuration of hooksmith serve that the network has to fit")
	f.StringVar(&o.server, "server", "", "`ADDRESS` of that boot server, if the file does not name it")
	f.StringVar(&o.mac, "mac", "", "hardware address that the machines have, `MAC` (default one of doctor's own); for servers that know their machines")
	f.StringSliceVar(&o.arch, "arch", nil, "`ARCHITECTURE` of the machines here, x86_64 or aarch64 (repeatable; default both, and what one of them lacks is only a warning)")
	f.BoolVar(&o.full, "full-exchange", false, "also take a lease and give it back")
	f.BoolVar(&o.quick, "quick", false, "do not download kernel and initramfs whole: hashes are not checked")
	f.DurationVar(&o.wait, "wait", 10*time.Second, "longest `TIME` to wait for an answer")
	f.StringVar(&o.cacert, "cacert", "", "`FILE` with the certificate authorities that machines trust (default the system's)")
	f.BoolVar(&o.asJSON, "json", false, "print it as JSON")
	addColour(cmd, &o.colour)
	o.addSources(a, cmd)
	return cmd
}

func (o *doctorFlags) run(ctx context.Context, a *app) error {
	opt, err := o.options(ctx, a)
	if err != nil {
		return err
	}
	if !o.asJSON {
		fmt.Fprintf(a.stderr, "asking on %s as every kind of machine, up to %s\n", opt.Interface, opt.Wait)
	}
	report, err := doctor.Run(ctx, opt)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = a.printJSON(report)
	} else {
		err = report.Picture(a.stdout, doctor.Style{Color: a.style(o.colour, false).Colour})
	}
	if err == nil && !report.Healthy {
		err = errors.New("machines cannot boot as they should, or that could not be found out: see above")
	}
	return err
}

// options makes doctor's of the flags.
func (o *doctorFlags) options(ctx context.Context, a *app) (opt doctor.Options, err error) {
	opt = doctor.Options{Interface: o.device, FullExchange: o.full, Quick: o.quick, Wait: o.wait, Architectures: o.arch}
	for _, arch := range o.arch {
		if !slices.Contains(doctor.Architectures(), arch) {
			return opt, usagef("--arch %s: must be one of %s", arch, strings.Join(doctor.Architectures(), ", "))
		}
	}
	if o.wait < time.Second || o.wait > time.Hour {
		return opt, usagef("--wait %s: want 1s to 1h", o.wait)
	}
	if o.mac != "" {
		if opt.MAC, err = net.ParseMAC(o.mac); err != nil || len(opt.MAC) != 6 || opt.MAC[0]&1 != 0 || [6]byte(opt.MAC) == [6]byte{} {
			return opt, usagef("--mac %s: want the address of one machine, as 52:54:00:12:34:56", o.mac)
		}
		if o.full {
			return opt, usagef("--full-exchange with --mac would give back the address that the machine uses; leave one out")
		}
	}
	if opt.Roots, err = o.roots(); err != nil {
		return opt, err
	}
	if opt.Expect, err = o.expected(ctx, a); err != nil {
		return opt, err
	}
	if opt.Interface == "" {
		if opt.Interface, err = doctor.DefaultInterface(); err != nil {
			return opt, &usageError{err}
		}
	}
	return opt, nil
}

func (o *doctorFlags) roots() (*x509.CertPool, error) {
	if o.cacert == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(o.cacert)
	if err != nil {
		return nil, fmt.Errorf("--cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("--cacert %s: there is no PEM certificate in it", o.cacert)
	}
	return pool, nil
}

// expected reads the configuration of the boot server, which may run elsewhere: its interfaces and folders need not be
// here.
func (o *doctorFlags) expected(ctx context.Context, a *app) (*doctor.Expect, error) {
	if o.expect == "" {
		if o.server != "" {
			return nil, usagef("--server names the boot server of --expect")
		}
		return nil, nil
	}
	if _, err := os.Stat(o.expect); err != nil {
		return nil, fmt.Errorf("--expect: %w", err)
	}
	o.config = o.expect
	loaded, err := o.load(a)
	if err != nil {
		return nil, err
	}
	c := &loaded.Config
	if o.server != "" {
		c.Address = o.server
	}
	address, err := netip.ParseAddr(c.Address)
	if err != nil || !address.Is4() {
		return nil, usagef("%s does not say the boot server's address: name it with --server ADDRESS", o.expect)
	}
	e := &doctor.Expect{Name: o.expect, Address: address, Answers: c.DHCPMode != "off"}
	if c.Artifacts != "" { // where the server runs; perhaps here
		e.Manifest, err = os.ReadFile(filepath.Join(c.Artifacts, build.ManifestName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: artifacts: %w", o.expect, err)
		}
	}
	if c.TLSCert != "" {
		e.HTTPS = "https://" + net.JoinHostPort(address.String(), strconv.Itoa(cmp.Or(c.HTTPSPort, 443)))
	}
	c.Artifacts, c.Interfaces, c.TLSCert, c.TLSKey, c.HTTPSPort = "", nil, "", "", 0
	opt := o.serveFlags.options(a, c)
	opt.Anywhere = true
	plan, err := serve.NewPlan(ctx, *c, opt)
	if err != nil {
		return nil, servable(err)
	}
	e.Decide, e.Base = plan.Decide, plan.BaseURL()
	return e, nil
}
