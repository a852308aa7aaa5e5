package drivers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// hostBuses are those whose devices ReadSysfs lists; the others are below them
// (SCSI disks, I2C chips) or no devices (processor features).
var hostBuses = []string{"pci", "usb", "virtio", "vmbus", "xen", "acpi", "platform", "of", "nd", "cxl"}

// ReadSysfs lists the devices of the machine whose /sys is given.
func ReadSysfs(sys fs.FS) ([]Device, error) {
	l := listing{file: "/sys"}
	seen := map[string]bool{}
	err := fs.WalkDir(sys, "devices", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			// Devices come and go, and some folders are for the kernel only.
			if p == "devices" || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			return nil
		}
		if e.IsDir() || e.Name() != "modalias" {
			return nil
		}
		d, ok, err := sysfsDevice(sys, path.Dir(p))
		if err != nil || !ok {
			return err
		}
		// The ACPI object of a device and the device say the same.
		if key := d.Slot + " " + d.Modalias; seen[key] {
			return nil
		} else if d.Bus == "acpi" || d.Bus == "of" {
			seen[key] = true
		}
		return l.add(d)
	})
	if err != nil {
		return nil, fmt.Errorf("/sys: %w", err)
	}
	if len(l.devices) == 0 {
		return nil, errors.New("/sys/devices: no device has a modalias: is /sys mounted?")
	}
	return l.devices, nil
}

// sysfsDevice reads one folder; ok is false for a bus that is not listed, and
// for what went away meanwhile.
func sysfsDevice(sys fs.FS, dir string) (d Device, ok bool, err error) {
	f, err := sys.Open(path.Join(dir, "modalias"))
	if err != nil {
		return d, false, nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxModalias+1))
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" {
		return d, false, nil
	}
	bus, _, _ := strings.Cut(text, ":")
	if !slices.Contains(hostBuses, bus) {
		return d, false, nil
	}
	if d, err = ParseModalias("/sys/"+path.Join(dir, "modalias"), text); err != nil {
		return d, false, err
	}
	d.Slot = path.Base(dir)
	if target, err := fs.ReadLink(sys, path.Join(dir, "driver")); err == nil {
		d.Driver = path.Base(target)
	}
	return d, true, nil
}
