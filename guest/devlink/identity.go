package devlink

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// maxAttribute bounds what is read of sysfs: VPD pages are the largest.
const maxAttribute = 64 << 10

// device is a block device in sysfs.
type device struct {
	sys, name string
}

func (d device) dir() string { return filepath.Join(d.sys, "class/block", d.name) }

// attr reads an attribute of the device, "" if there is none.
func (d device) attr(name string) string { return readAttr(filepath.Join(d.dir(), name)) }

func readAttr(path string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) > maxAttribute {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(text), "\x00"))
}

// disk returns the disk that a partition is on, and what its links end in; for a disk, itself and nothing.
func (d device) disk() (device, string) {
	number := d.attr("partition")
	if number == "" {
		return d, ""
	}
	path, err := filepath.EvalSymlinks(d.dir())
	if err != nil {
		return d, ""
	}
	return device{d.sys, filepath.Base(filepath.Dir(path))}, "-part" + number
}

// identities are the links by what the hardware says of itself.
func (d device) identities() []string {
	disk, part := d.disk()
	var links []string
	for _, id := range disk.ids() {
		links = append(links, "disk/by-id/"+id+part)
	}
	event := readUevent(d.attr("uevent"))
	if uuid := clean(event["PARTUUID"]); uuid != "" {
		links = append(links, "disk/by-partuuid/"+strings.ToLower(uuid))
	}
	if label := clean(event["PARTNAME"]); label != "" {
		links = append(links, "disk/by-partlabel/"+label)
	}
	return links
}

// ids are the names of a disk, as udev's 60-persistent-storage.rules has them.
func (d device) ids() []string {
	switch {
	case strings.HasPrefix(d.name, "nvme"):
		return d.nvme()
	case strings.HasPrefix(d.name, "vd"):
		return named("virtio-", d.attr("serial"))
	case strings.HasPrefix(d.name, "mmcblk"):
		return named("mmc-", joined(d.attr("device/name"), d.attr("device/serial")))
	case strings.HasPrefix(d.name, "dm-"):
		return append(named("dm-name-", d.attr("dm/name")), named("dm-uuid-", d.attr("dm/uuid"))...)
	case d.attr("device/model") != "":
		return d.scsi()
	}
	return nil
}

func (d device) nvme() []string {
	ids := named("nvme-", d.attr("wwid"))
	if serial := joined(d.attr("device/model"), d.attr("device/serial")); serial != "" {
		ids = append(ids, named("nvme-", serial)...)
		ids = append(ids, named("nvme-", joined(serial, d.attr("nsid")))...)
	}
	return ids
}

// scsi are the names of what the kernel sees as a SCSI disk: SAS, SATA, USB.
func (d device) scsi() []string {
	if serial := d.usbSerial(); serial != "" {
		id := joined(d.attr("device/vendor"), d.attr("device/model"), serial)
		return named("usb-", id+"-0:"+d.lun())
	}
	page, _ := os.ReadFile(filepath.Join(d.dir(), "device/vpd_pg83"))
	return designators(page)
}

// lun is the last number of the SCSI address.
func (d device) lun() string {
	path, err := filepath.EvalSymlinks(filepath.Join(d.dir(), "device"))
	if err != nil {
		return "0"
	}
	address := filepath.Base(path)
	return address[strings.LastIndexByte(address, ':')+1:]
}

// usbSerial is the serial number of the USB device that the disk is part of.
func (d device) usbSerial() string {
	path, err := filepath.EvalSymlinks(d.dir())
	for ; err == nil && strings.Contains(path, "/usb"); path = filepath.Dir(path) {
		if readAttr(filepath.Join(path, "idVendor")) != "" {
			return readAttr(filepath.Join(path, "serial"))
		}
	}
	return ""
}

// designators reads the names of a logical unit from its device identification page (SPC-4, 7.8.6).
func designators(page []byte) []string {
	if len(page) < 4 {
		return nil
	}
	var ids []string
	for rest := page[4:]; len(rest) >= 4 && len(rest) >= 4+int(rest[3]); rest = rest[4+int(rest[3]):] {
		association, kind, value := rest[1]>>4&3, rest[1]&15, rest[4:4+int(rest[3])]
		if association != 0 || len(value) == 0 { // of the port or the target, not of the disk
			continue
		}
		switch kind {
		case 1: // vendor: "ATA     " is followed by 40 characters of model and 20 of serial number
			if text := string(value); strings.HasPrefix(text, "ATA     ") && len(text) == 68 {
				ids = append(ids, named("ata-", joined(text[8:48], text[48:]))...)
			} else {
				ids = append(ids, named("scsi-1", text)...)
			}
		case 2: // EUI-64
			ids = append(ids, "scsi-2"+hex.EncodeToString(value))
		case 3: // NAA
			ids = append(ids, "wwn-0x"+hex.EncodeToString(value), "scsi-3"+hex.EncodeToString(value))
		}
	}
	return ids
}

// named puts a prefix before a name that is not empty.
func named(prefix, name string) []string {
	if name = clean(name); name == "" {
		return nil
	}
	return []string{prefix + name}
}

// joined puts underscores between the parts, nothing if one is missing.
func joined(parts ...string) string {
	for i, p := range parts {
		if parts[i] = clean(p); parts[i] == "" {
			return ""
		}
	}
	return strings.Join(parts, "_")
}

// clean makes a name fit for a file, as udev does: white space becomes one underscore, and so does any character that
// is not in its list.
func clean(s string) string {
	s = strings.Join(strings.Fields(strings.TrimRight(s, "\x00")), "_")
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("#+-.:=@_", r) {
			return r
		}
		return '_'
	}, s)
	if strings.Trim(s, ".") == "" {
		return ""
	}
	return s
}

// readUevent reads the KEY=value lines of a uevent attribute.
func readUevent(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	return values
}
