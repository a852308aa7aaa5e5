package drivers

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"hooksmith/configs"
	"hooksmith/kernel"
)

var readTable = sync.OnceValues(func() (*Table, error) { return ReadTable(bytes.NewReader(configs.DriverTable)) })

// table is the one that hooksmith carries.
func table(t testing.TB) *Table {
	t.Helper()
	tab, err := readTable()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func policy(t testing.TB) *kernel.Policy {
	t.Helper()
	b, err := configs.FS.ReadFile("modules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := kernel.ParsePolicy("modules.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// complete is an index of all modules of the table but those named, which are
// built in; without says what the kernel has not at all.
func complete(tab *Table, arch kernel.Arch, builtin, without []string) *kernel.Index {
	x := &kernel.Index{Release: "6.12.0-test", Arch: arch}
	for _, d := range tab.drivers {
		path := "kernel/" + d.Path + ".ko"
		switch {
		case slices.Contains(without, d.Name):
		case slices.Contains(builtin, d.Name):
			x.Builtin = append(x.Builtin, kernel.Builtin{Path: path, Name: d.Name})
		default:
			x.Modules = append(x.Modules, kernel.Module{Path: path, Name: d.Name, Aliases: d.Aliases, Firmware: d.Firmware})
		}
	}
	x.Modules = append(x.Modules, kernel.Module{Path: "kernel/drivers/scsi/sd_mod.ko", Name: "sd_mod"})
	return x
}
