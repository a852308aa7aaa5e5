package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/drivers"
)

func newDrivers(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drivers",
		Short: "Say which devices a HookOS has drivers for",
		Long: `Find out before a machine boots whether HookOS can drive its network ports and disks,
and what to do if not.`,
		Example: `  hooksmith drivers check out/hook --lspci server.txt
  hooksmith drivers list hook-debian-cloud-amd64`,
	}
	cmd.AddCommand(newDriversList(a), newDriversCheck(a))
	return cmd
}

// driversTargets is what both commands say about their argument.
const driversTargets = `The argument is a flavor, which does not have to be built; an initramfs, whoever made it;
an output folder; a folder or tar with lib/modules in it; a LinuxKit kernel image as folder,
docker save archive or OCI layout; the name of a container image; or the URL of an
initramfs or an output folder. Without it, it is the flavor that 'hooksmith build' builds.`

func newDriversList(a *app) *cobra.Command {
	o := &targetFlags{}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [FLAVOR|FILE|FOLDER|IMAGE]",
		Short: "List the drivers that a HookOS has",
		Long: `List the drivers that devices load, with the number of devices that each knows and
whether the firmware that it may ask for is in.

` + driversTargets,
		Example: `  hooksmith drivers list
  hooksmith drivers list out/hook
  hooksmith drivers list quay.io/tinkerbell/hook-kernel:6.6.52-2f116ae2 --json | jq -r '.drivers[].name'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			artifact, err := a.openDrivers(cmd.Context(), o, args)
			if err != nil {
				return err
			}
			table, err := drivers.ReadTable(bytes.NewReader(configs.DriverTable))
			if err != nil {
				return err
			}
			inventory := drivers.List(artifact, table)
			if asJSON {
				return a.printJSON(inventory)
			}
			return inventory.WriteText(a.stdout)
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

// deviceFlags say which devices are to be checked.
type deviceFlags struct {
	lspci, modaliases, pci []string
	host                   bool
}

func newDriversCheck(a *app) *cobra.Command {
	o, from := &targetFlags{}, &deviceFlags{}
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "check [FLAVOR|FILE|FOLDER|IMAGE]",
		Short: "Say whether the devices of a machine will work, and what is missing",
		Long: `Match the devices of a machine with the drivers of a HookOS as the kernel does it, by
modaliases, and say for each device which module drives it, whether its firmware is in, and
if there is none, which kernel symbol, module group, flavor or package brings it.

` + driversTargets + `

The exit code is 1 if a network or storage device will not work. What a listing leaves out
(lspci -nn has no subsystem) makes a driver a "maybe", which counts as covered; the most
exact listings are those of lspci -vmmn and of /sys.`,
		Example: `  lspci -nnk > server.txt; hooksmith drivers check out/hook --lspci server.txt
  hooksmith drivers check hook-debian-cloud-amd64 --pci 8086:1593,1000:0014,144d:a808@0108
  ssh root@server "find /sys -name modalias -exec grep -H . {} +" | hooksmith drivers check --modalias -
  hooksmith drivers check out/hook --host --json | jq -r '.devices[] | select(.required) | .id + " " + .state'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			listing, err := a.readDevices(from)
			if err != nil {
				return err
			}
			report, err := a.checkDrivers(cmd.Context(), o, args, listing.Devices)
			if err != nil {
				return err
			}
			report.Warnings = append(listing.Warnings, report.Warnings...)
			if asJSON {
				err = a.printJSON(report)
			} else {
				err = report.WriteText(a.stdout, all)
			}
			return errors.Join(err, report.Err())
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&from.lspci, "lspci", nil, "devices from this `FILE`: the output of lspci -nn, -nnk, -n, -vmmn or -mm -nn; - is stdin (repeatable)")
	f.StringArrayVar(&from.pci, "pci", nil, "`VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE][@CLASS]` in hexadecimal, several separated by commas (repeatable)")
	f.StringArrayVar(&from.modaliases, "modalias", nil, "devices from this `FILE` of modaliases, plain or as grep prints them; - is stdin (repeatable)")
	f.BoolVar(&from.host, "host", false, "the devices of this machine")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	f.BoolVar(&all, "all", false, "show devices that need no driver too")
	return cmd
}

// readDevices reads all listings.
func (a *app) readDevices(o *deviceFlags) (*drivers.Listing, error) {
	all := &drivers.Listing{}
	readers := []struct {
		flag  string
		files []string
		read  func(string, io.Reader) (*drivers.Listing, error)
	}{{"--lspci", o.lspci, drivers.ReadLspci}, {"--modalias", o.modaliases, drivers.ReadModaliases}}
	for _, from := range readers {
		for _, file := range from.files {
			b, err := readFile(a, file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", from.flag, err)
			}
			l, err := from.read(file, bytes.NewReader(b))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", from.flag, err)
			}
			all.Devices = append(all.Devices, l.Devices...)
			all.Warnings = append(all.Warnings, l.Warnings...)
		}
	}
	for _, list := range o.pci {
		devices, err := drivers.ParsePCIList("--pci", list)
		if err != nil {
			return nil, &usageError{err}
		}
		all.Devices = append(all.Devices, devices...)
	}
	if o.host {
		devices, err := drivers.ReadSysfs(os.DirFS("/sys"))
		if err != nil {
			return nil, fmt.Errorf("--host: %w", err)
		}
		all.Devices = append(all.Devices, devices...)
	}
	if len(all.Devices) == 0 {
		return nil, usagef("say which devices: --lspci FILE, --pci 8086:1593, --modalias FILE or --host")
	}
	return all, nil
}

// checkDrivers opens the target and judges the devices.
func (a *app) checkDrivers(ctx context.Context, o *targetFlags, args []string, devices []drivers.Device) (*drivers.Report, error) {
	policy, err := modulePolicy()
	if err != nil {
		return nil, err
	}
	flavors, err := loadFlavors(o.config)
	if err != nil {
		return nil, err
	}
	table, err := drivers.ReadTable(bytes.NewReader(configs.DriverTable))
	if err != nil {
		return nil, err
	}
	artifact, err := a.openDrivers(ctx, o, args)
	if err != nil {
		return nil, err
	}
	c := drivers.Checker{Artifact: artifact, Table: table, Policy: policy, Flavors: completeKernels(flavors), Own: ownKernel(flavors, artifact.Arch)}
	return c.Check(devices)
}

func modulePolicy() (*kernel.Policy, error) {
	b, err := fs.ReadFile(configs.FS, "modules.yaml")
	if err != nil {
		return nil, err
	}
	return kernel.ParsePolicy("modules.yaml", b)
}

// completeKernels are the flavors with the kernel that the table was made of.
func completeKernels(flavors *build.Flavors) []drivers.Flavor {
	var list []drivers.Flavor
	for _, f := range flavors.All {
		if f.Kernel.Debian == "linux-image-"+f.DebianArch() && f.Unavailable == "" {
			list = append(list, drivers.Flavor{ID: f.ID, Arch: kernel.Arch(f.Arch), Groups: f.Modules})
		}
	}
	return list
}

// ownKernel is the first flavor whose kernel we configure.
func ownKernel(flavors *build.Flavors, arch kernel.Arch) string {
	for _, f := range flavors.All {
		if f.Kernel.Version != "" && f.Arch == string(arch) && f.Unavailable == "" {
			return f.ID
		}
	}
	return ""
}
