package console

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hooksmith/guest/cmdline"
)

// Names lists the consoles by device name, "tty0", "ttyS1": those of the console= arguments and those that the kernel
// has made active (text of /sys/class/tty/console/active), each once.
func Names(params cmdline.Params, active string) []string {
	var names []string
	for _, value := range params.All("console") {
		name, _, _ := strings.Cut(value, ",")
		names = append(names, name)
	}
	names = append(names, strings.Fields(active)...)
	var kept []string
	for _, name := range names {
		if name == "tty" {
			name = "tty0"
		}
		if isTerminal(name) && !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// isTerminal leaves out what is no terminal (netcon, ttynull), a name of another device (console=uart8250,io,0x3f8 is
// listed as ttyS0 among the active ones) and what is no name of a device at all.
func isTerminal(name string) bool {
	for _, other := range []string{"netcon", "uart", "pl011", "earlycon", "ttynull", "null"} {
		if strings.HasPrefix(name, other) {
			return false
		}
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return name != ""
}

// Active reads which consoles the kernel uses.
func Active() string {
	text, _ := os.ReadFile("/sys/class/tty/console/active")
	return string(text)
}

// LoginDevice is the device on which a person works at a console: tty0 is whatever virtual terminal is in front, so
// the shell has tty1.
func LoginDevice(name string) string {
	if name == "tty0" {
		name = "tty1"
	}
	return filepath.Join("/dev", name)
}

// Terminal is the value of TERM for a console.
func Terminal(name string) string {
	number, ok := strings.CutPrefix(name, "tty")
	if ok && number != "" && strings.Trim(number, "0123456789") == "" {
		return "linux"
	}
	return "vt220"
}

// Wired says whether there is hardware behind a console. The kernel makes ttyS0 to ttyS3 anyway; those without a chip
// have type 0 and give an I/O error.
func Wired(sys, name string) bool {
	kind, err := os.ReadFile(filepath.Join(sys, "class/tty", name, "type"))
	return err != nil || strings.TrimSpace(string(kind)) != "0"
}
