package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/serve"
	"hooksmith/serve/dhcpconf"
)

// dhcpConfigFlags are those of `hooksmith dhcp-config`.
type dhcpConfigFlags struct {
	serveFlags
	full                         bool
	server, subnet               string
	before, after                string
	scriptPath, binaryPath, name string
}

// fromServe are the settings of the boot server that its neighbours depend on.
var fromServe = []string{"interface", "hardware", "ipxe-dir", "ipxe-binary", "ipxe-user-class", "http-port",
	"gateway", "dns", "ntp", "domain", "lease-time", "pool"}

func newDHCPConfig(a *app) *cobra.Command {
	var o dhcpConfigFlags
	var targets []string
	about := &strings.Builder{}
	for _, t := range dhcpconf.Targets() {
		targets = append(targets, t.Name)
		fmt.Fprintf(about, "\n  %-18s %s", t.Name, t.About)
	}
	cmd := &cobra.Command{
		Use:   "dhcp-config TARGET",
		Short: "Print configuration for another DHCP server",
		Long: `Print what a DHCP server that is there already needs to send machines to the boot
server: made of the same rule and the same settings (serve.yaml) as the boot server
itself. It branches by architecture, by UEFI HTTP boot and by iPXE's user class, and
gives nothing to ordinary clients. The targets:
` + about.String() + `

Without --full it is a fragment for a configuration that is there; its first lines say
where it goes and how it is checked. Run the boot server with --dhcp-mode off then (for
dnsmasq-proxy, too).`,
		Example: `  hooksmith dhcp-config kea --server 10.0.0.1 > /etc/kea/hooksmith.json

  # all that a small site needs, with its machines
  hooksmith dhcp-config dnsmasq --full --server 10.0.0.1 --subnet 10.0.0.0/24 --hardware hardware.csv

  # EKS Anywhere's boot server moves from the bootstrap to the management cluster
  hooksmith dhcp-config isc-dhcpd --script-path /auto.ipxe --before 10.0.0.5 --after 10.0.0.6`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(targets, args[0]) {
				return usagef("name one target: %s; not %q", strings.Join(targets, ", "), args)
			}
			return nil
		},
		ValidArgs: targets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			return o.run(cmd.Context(), a, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.full, "full", false, "a whole configuration instead of a fragment")
	f.StringVar(&o.server, "server", "", "`ADDRESS` of the boot server as machines reach it (default this host's)")
	f.StringVar(&o.subnet, "subnet", "", "`NETWORK` of the machines, as in 10.0.0.0/24 (default the interface's)")
	f.StringVar(&o.before, "before", "", "with --after: print it for the boot server at this `ADDRESS`, for that at the other, and what differs")
	f.StringVar(&o.after, "after", "", "`ADDRESS` that the boot server moves to")
	f.StringVar(&o.scriptPath, "script-path", "", "`PATH` of the script on the boot server (default /boot.ipxe; Tinkerbell's: /ipxe/script/auto.ipxe or /auto.ipxe)")
	f.StringVar(&o.binaryPath, "binary-path", "", "`PATH` of the folder with binaries for UEFI HTTP boot (default /ipxe/binary/)")
	f.StringVar(&o.name, "name", "", "`NAME` of the boot server in DNS, for the target dns (default hooksmith)")
	o.addSettings(cmd, fromServe...)
	o.addSources(a, cmd)
	return cmd
}

func (o *dhcpConfigFlags) run(ctx context.Context, a *app, target string) error {
	if (o.before == "") != (o.after == "") {
		return usagef("--before and --after: both are needed")
	}
	if o.before != "" && o.server != "" {
		return usagef("--server: with --before and --after the server is at those addresses")
	}
	for name, address := range map[string]string{"server": o.server, "before": o.before, "after": o.after} {
		if addr, err := netip.ParseAddr(address); address != "" && (err != nil || !addr.Is4()) {
			return usagef("--%s %q: want an IPv4 address", name, address)
		}
	}
	c, err := o.config(ctx, a)
	if err != nil {
		return err
	}
	if o.before != "" {
		return o.compare(a, target, c)
	}
	r, err := dhcpconf.Generate(target, *c)
	if err != nil {
		return err
	}
	a.printNotes(r)
	_, err = fmt.Fprint(a.stdout, r.Text)
	return err
}

// config is what the boot server's settings and our own flags make.
func (o *dhcpConfigFlags) config(ctx context.Context, a *app) (*dhcpconf.Config, error) {
	loaded, err := o.load(a)
	if err != nil {
		return nil, err
	}
	if first := o.server + o.before; first != "" {
		loaded.Address = first
	}
	if loaded.DHCPMode == "off" {
		loaded.DHCPMode = "" // the router and name servers of this host are asked for, as for a DHCP server
	}
	opt := o.options(a, &loaded.Config)
	opt.Anywhere = true
	plan, err := serve.NewPlan(ctx, loaded.Config, opt)
	if err != nil {
		return nil, servable(err)
	}
	c := &dhcpconf.Config{
		Program: "hooksmith " + ourVersion(), Rule: plan.Rule(), HTTPPort: plan.Config.HTTPPort,
		ScriptPath: o.scriptPath, BinaryPath: o.binaryPath, Name: o.name,
		Machines: plan.Records(), Subnet: plan.Subnet(),
	}
	if c.Server, err = netip.ParseAddr(plan.Config.Address); err != nil {
		return nil, usagef("the address of the boot server is not known here: give it with --server")
	}
	if o.subnet != "" {
		if c.Subnet, err = netip.ParsePrefix(o.subnet); err != nil {
			return nil, usagef("--subnet %q: want a network, as in 10.0.0.0/24", o.subnet)
		}
		c.Subnet = c.Subnet.Masked()
	}
	if o.full {
		c.Full = network(plan, c.Subnet)
	}
	return c, nil
}

// network is what the boot server would tell every machine.
func network(plan *serve.Plan, subnet netip.Prefix) *dhcpconf.Network {
	addrs := func(texts []string) (all []netip.Addr) {
		for _, t := range texts {
			if addr, err := netip.ParseAddr(t); err == nil { // the plan has checked them
				all = append(all, addr)
			}
		}
		return all
	}
	n := &dhcpconf.Network{Pool: plan.PoolRanges(), NameServers: addrs(plan.Config.DNS), TimeServers: addrs(plan.Config.NTP),
		Domain: plan.Config.Domain, Lease: plan.Config.LeaseTime}
	for _, router := range addrs(plan.Config.Gateway) { // that of the subnet, of several
		if !n.Router.IsValid() || subnet.Contains(router) && !subnet.Contains(n.Router) {
			n.Router = router
		}
	}
	if len(plan.Config.Interfaces) > 0 {
		n.Interface = plan.Config.Interfaces[0]
	}
	return n
}

func (o *dhcpConfigFlags) compare(a *app, target string, c *dhcpconf.Config) error {
	before, after := netip.MustParseAddr(o.before), netip.MustParseAddr(o.after) // run has looked at them
	both, err := dhcpconf.Compare(target, *c, before, after)
	if err != nil {
		return err
	}
	a.printNotes(both.Before)
	_, err = fmt.Fprintf(a.stdout, "==> before: %v <==\n%s\n==> after: %v <==\n%s\n==> what changes <==\n%s", before, both.Before.Text, after, both.After.Text, both.Diff)
	return err
}

func (a *app) printNotes(r *dhcpconf.Result) {
	for _, n := range r.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", n)
	}
}
