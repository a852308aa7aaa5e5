package devlink

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// isPCI matches the address of a PCI function, 0000:01:00.0.
func isPCI(part string) bool {
	ok, _ := path.Match("*[0-9a-f][0-9a-f][0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f].[0-7]", part)
	return ok
}

// scsiAddress takes the address of a SCSI device, host:channel:target:lun, apart behind the host.
func scsiAddress(part string) (host int, rest string, ok bool) {
	first, rest, _ := strings.Cut(part, ":")
	host, err := strconv.Atoi(first)
	if err != nil || strings.Count(rest, ":") != 2 || strings.Trim(rest, "0123456789:") != "" {
		return 0, "", false
	}
	return host, rest, true
}

// usbInterface finds where a USB interface is plugged in: "1.2:1.0" of "1-1.2:1.0".
func usbInterface(part string) (string, bool) {
	bus, rest, ok := strings.Cut(part, "-")
	return rest, ok && bus != "" && strings.Contains(rest, ":") && strings.Trim(bus+rest, "0123456789.:") == ""
}

// numbered matches a name such as host3 and returns the number.
func numbered(part, name string) (int, bool) {
	digits, ok := strings.CutPrefix(part, name)
	number, err := strconv.Atoi(digits)
	return number, ok && err == nil
}

// paths are the links by where the disk is plugged in, as udev's path_id has them.
func (d device) paths() []string {
	disk, part := d.disk()
	place, err := filepath.EvalSymlinks(disk.dir())
	if err != nil {
		return nil
	}
	var links []string
	for _, p := range located(place, disk.attr("nsid")) {
		links = append(links, "disk/by-path/"+p+part)
	}
	return links
}

// located describes a place in /sys/devices. Behind an expander or on a bus that it does not know it says nothing: two
// disks must not get the same name.
func located(place, nsid string) []string {
	parts := strings.Split(place, "/")
	where, at := base(parts)
	if where == "" {
		return nil
	}
	usb, virtio := "", false
	for i := at; i < len(parts); i++ {
		part := parts[i]
		if plug, ok := usbInterface(part); ok {
			usb = "-usb-0:" + plug
		}
		if host, rest, ok := scsiAddress(part); ok {
			return []string{fmt.Sprintf("%s%s-scsi-%d:%s", where, usb, relativeHost(parts[:i], host), rest)}
		}
		if _, ok := numbered(part, "ata"); ok {
			return ata(where, strings.Join(parts[:i+1], "/"), part)
		}
		if _, ok := numbered(part, "virtio"); ok {
			virtio = true
		}
		for _, bus := range []string{"end_device", "rport", "session"} {
			if strings.HasPrefix(part, bus) {
				return nil
			}
		}
		if part == "nvme" {
			return named(where+"-nvme-", nsid)
		}
	}
	if virtio { // a disk by itself; the SCSI controller of that kind has many
		return []string{where, "virtio-" + where}
	}
	return nil
}

// base finds the PCI function closest to the disk, else the platform device.
func base(parts []string) (where string, at int) {
	for i := len(parts) - 1; i >= 0; i-- {
		if isPCI(parts[i]) {
			return "pci-" + parts[i], i + 1
		}
	}
	for i, part := range parts {
		if part == "platform" && i+1 < len(parts) {
			return "platform-" + clean(parts[i+1]), i + 2
		}
	}
	return "", 0
}

// ata numbers the ports of a controller from 1, while the kernel counts those of all.
func ata(where, dir, port string) []string {
	number := readAttr(filepath.Join(dir, "ata_port", port, "port_no"))
	if number == "" {
		return nil
	}
	return []string{where + "-ata-" + number, where + "-ata-" + number + ".0"}
}

// relativeHost numbers the SCSI hosts of a controller from 0, while the kernel counts those of all.
func relativeHost(parts []string, host int) int {
	for i, part := range parts {
		if _, ok := numbered(part, "host"); !ok {
			continue
		}
		siblings, _ := os.ReadDir(strings.Join(parts[:i], "/"))
		lowest := host
		for _, s := range siblings {
			if n, ok := numbered(s.Name(), "host"); ok {
				lowest = min(lowest, n)
			}
		}
		return host - lowest
	}
	return host
}
