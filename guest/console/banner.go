package console

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Status is what the banner tells.
type Status struct {
	Release   map[string]string // /etc/hooksmith/release: NAME, VERSION, FLAVOR
	Kernel    string
	Machine   string
	Hostname  string
	Addresses []string // "eth0 10.0.2.15/24"
	Services  []string // "network running", "docker restarting"
	Line      string   // "ttyS0"
}

// Banner is the text above the prompt.
func Banner(s Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", title(s))
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, value)
		}
	}
	row("kernel", strings.TrimSpace(s.Kernel+" "+s.Machine))
	row("host", s.Hostname)
	addresses := strings.Join(s.Addresses, ", ")
	if addresses == "" {
		addresses = "no address yet"
	}
	row("network", addresses)
	row("services", strings.Join(s.Services, ", "))
	row("logs", "service logs NAME (-f follows), /var/log/init.log, dmesg")
	return b.String()
}

func title(s Status) string {
	name := s.Release["NAME"]
	if name == "" {
		name = "HookOS"
	}
	words := []string{name}
	for _, key := range []string{"VERSION", "FLAVOR"} {
		if v := s.Release[key]; v != "" {
			words = append(words, v)
		}
	}
	if s.Line != "" {
		words = append(words, "on "+s.Line)
	}
	return strings.Join(words, " ")
}

// Prompt asks for what Getty waits for.
const Prompt = "Press Enter for a root shell.\n"

// Gather fills in what the running system says of itself.
func Gather(releaseFile string) Status {
	s := Status{Release: ReadRelease(releaseFile)}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		s.Kernel = unix.ByteSliceToString(uts.Release[:])
		s.Machine = unix.ByteSliceToString(uts.Machine[:])
		s.Hostname = unix.ByteSliceToString(uts.Nodename[:])
	}
	s.Addresses = addresses()
	return s
}

// addresses lists the global addresses of the interfaces.
func addresses() []string {
	var list []string
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		found, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range found {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				list = append(list, i.Name+" "+n.String())
			}
		}
	}
	return list
}

// ReadRelease reads KEY=value lines as in os-release(5); a file that is not there has none.
func ReadRelease(file string) map[string]string {
	values := map[string]string{}
	f, err := os.Open(file)
	if err != nil {
		return values
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	return values
}
