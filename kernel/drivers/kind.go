package drivers

import "strings"

// Kind is what a device or a driver is for.
type Kind string

// The kinds. A machine cannot be provisioned without its Network and its
// Storage.
const (
	Network  Kind = "network"
	Storage  Kind = "storage"
	Wireless Kind = "wireless" // which HookOS leaves out on purpose
	USB      Kind = "usb"      // host controllers, and what is plugged in
	Graphics Kind = "graphics"
	Sound    Kind = "sound"
	Other    Kind = "other"
	Unknown  Kind = "unknown"
)

// pathKinds are the kinds of drivers by where the kernel has them, the first
// that fits.
var pathKinds = []struct {
	prefix string
	kind   Kind
}{
	{"drivers/net/wireless/", Wireless}, {"drivers/net/wwan/", Wireless},
	{"drivers/net/usb/", USB}, {"drivers/usb/", USB},
	{"drivers/net/phy/", Other}, {"drivers/net/can/", Other}, {"drivers/net/ieee802154/", Other},
	{"drivers/net/", Network}, {"drivers/infiniband/hw/", Network},
	{"drivers/scsi/", Storage}, {"drivers/ata/", Storage}, {"drivers/nvme/", Storage}, {"drivers/block/", Storage},
	{"drivers/message/fusion/", Storage}, {"drivers/pci/controller/vmd", Storage}, {"drivers/ufs/", Storage},
	{"drivers/gpu/", Graphics}, {"drivers/video/", Graphics}, {"drivers/accel/", Graphics}, {"sound/", Sound},
}

// pathKind is the kind of the driver at a path below the modules' folder.
func pathKind(p string) Kind {
	p = strings.TrimPrefix(p, "kernel/")
	for _, k := range pathKinds {
		if strings.HasPrefix(p, k.prefix) {
			return k.kind
		}
	}
	return Other
}

// classKinds are the PCI classes that tell the kind; the PCI Code and ID
// Assignment Specification has them.
var classKinds = map[string]Kind{"0c04": Storage /* Fibre Channel */, "0c06": Network /* InfiniBand */, "0c03": USB}

// virtioKinds are the numbers of virtio devices (virtio 1.2, section 5).
var virtioKinds = map[string]Kind{"d00000001": Network, "d00000002": Storage, "d00000008": Storage}

// vmbusKinds are Hyper-V's classes (include/linux/hyperv.h, HV_NIC_GUID and
// so on), as their modaliases spell them.
var vmbusKinds = map[string]Kind{
	"635161f83edfc546913ff2d2f965ed0e": Network,
	"d96361baa104294db60572e2ffb1dc7f": Storage, // SCSI
	"32264132cb86a2449b5c50d1417354f5": Storage, // IDE
	"4acc9b2f6900f34ab76b6fd0be528cda": Storage, // Fibre Channel
}

// xenKinds are Xen's.
var xenKinds = map[string]Kind{"vif": Network, "vbd": Storage}

// Kind is what the device is for by what it says of itself.
func (d *Device) Kind() Kind {
	_, rest, _ := strings.Cut(d.Modalias, ":")
	switch d.Bus {
	case "pci":
		return pciKind(d.Class())
	case "virtio":
		kind, _, _ := strings.Cut(rest, "v")
		return orOther(virtioKinds[kind])
	case "vmbus":
		return orOther(vmbusKinds[rest])
	case "xen":
		return orOther(xenKinds[rest])
	case "usb":
		return USB
	}
	return Unknown
}

func orOther(k Kind) Kind {
	if k == "" {
		return Other
	}
	return k
}

func pciKind(class string) Kind {
	if class == "" {
		return Unknown
	}
	if k, ok := classKinds[class]; ok {
		return k
	}
	switch class[:2] {
	case "01":
		return Storage
	case "02":
		return Network
	case "03":
		return Graphics
	case "ff": // "unassigned": the driver has to tell
		return Unknown
	}
	return Other
}
