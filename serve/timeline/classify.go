package timeline

import (
	"path"
	"strings"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
)

// phaseOf says which program sent a DHCP packet. Only PXE clients send option
// 93 (Arch), and the only ones that do not call themselves PXEClient or
// HTTPClient there are iPXE builds with a user class of their own.
func phaseOf(e event.Event, before Phase) Phase {
	client := strings.ToLower(e.Client)
	switch {
	case strings.HasPrefix(client, "pxeclient"), strings.HasPrefix(client, "httpclient"):
		return PhaseFirmware
	case strings.Contains(client, "ipxe"), strings.Contains(client, "gpxe"), strings.HasPrefix(client, "tinkerbell"):
		return PhaseIPXE
	case client == "" && before != "":
		return before
	case client == "" && e.Arch != "":
		return PhaseFirmware
	case e.Arch != "":
		return PhaseIPXE
	}
	return PhaseOS
}

// binarySuffixes are what firmware loads. Scripts that are not auto.ipxe belong
// to the binary: iPXE runs them before it asks for the machine's own script, or
// they say why there is none (loop.ipxe).
var binarySuffixes = []string{".efi", ".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".lkrn", ".0", ".ipxe"}

// stageOf says what a file is, by its name.
func stageOf(file string, m *hardware.Machine) Stage {
	base := strings.ToLower(path.Base(file))
	if m != nil {
		switch path.Base(file) {
		case m.Netboot.Kernel:
			return StageKernel
		case m.Netboot.Initrd:
			return StageInitramfs
		case m.Netboot.Binary:
			return StageBinary
		}
	}
	if base == "auto.ipxe" {
		return StageScript
	}
	for _, s := range binarySuffixes {
		if strings.HasSuffix(base, s) {
			return StageBinary
		}
	}
	switch {
	case strings.HasPrefix(base, "vmlinu"), strings.HasPrefix(base, "bzimage"), strings.HasPrefix(base, "kernel"), base == "linux":
		return StageKernel
	case strings.HasPrefix(base, "init"), strings.HasSuffix(base, ".cpio"), strings.HasSuffix(base, ".cpio.gz"):
		return StageInitramfs
	}
	return StageFile
}

// lineKind is what a log line says about the boot.
type lineKind int

const (
	linePlain  lineKind = iota
	lineIPXE            // from iPXE, before the system
	lineWorker          // the worker itself speaks
	lineFailed          // the worker does not start, or ends
	linePanic
)

// kindOfLine reads a line. HookOS's docker tags lines with the container's
// name: tink-worker, in newer Tinkerbell tink-agent.
func kindOfLine(l Line) lineKind {
	app := strings.ToLower(l.App)
	switch {
	case app == "ipxe" || strings.HasPrefix(l.Text, "ipxe: "):
		return lineIPXE
	case strings.Contains(l.Text, "Kernel panic - not syncing"):
		return linePanic
	case strings.HasPrefix(app, "tink-worker"), strings.HasPrefix(app, "tink-agent"):
		return lineWorker
	case strings.Contains(app, "bootkit") || strings.HasPrefix(l.Text, "bootkit: "):
		if strings.Contains(l.Text, "worker started") {
			return lineWorker
		}
		if strings.Contains(l.Text, "worker ended") || strings.Contains(l.Text, "trying again in") {
			return lineFailed
		}
	}
	return linePlain
}

// clean bounds a string from the network and makes it valid UTF-8.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
