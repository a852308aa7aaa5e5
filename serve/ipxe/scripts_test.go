package ipxe

import (
	"bufio"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/hardware"
)

var update = flag.Bool("update", false, "write the golden files")

func testConfig() Config {
	return Config{
		HookURL: "http://10.0.0.1:8080/hook/", SyslogHost: "10.0.0.1", GRPCAuthority: "10.0.0.1:42113", TLS: hardware.Off,
		WorkerImage: "127.0.0.1/embedded/tink-worker", Facility: "onprem", ExtraArgs: []string{"a=global", "serial=${serial}"},
		Retries: 3, RetryDelay: time.Second,
	}
}

func testMachine() hardware.Machine {
	return hardware.Machine{
		MAC: "52:54:00:12:34:56", Hostname: "node1", Source: "/etc/hooksmith/hardware.csv:3", VLAN: 12,
		IP: netip.MustParsePrefix("10.0.0.11/20"), Gateway: netip.MustParseAddr("10.0.0.254"),
		Labels:  map[string]string{"type": "worker", "zone": "b"},
		Netboot: hardware.Netboot{KernelArgs: []string{"a=own", `b="c d"`}, WorkerID: "agent-7"},
	}
}

// golden compares with a file of testdata, and checks the script.
func golden(t *testing.T, name, got string) {
	t.Helper()
	lint(t, got)
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update, then read the diff):\n%s", name, got)
	}
}

// commands is what the generated scripts use, and every build of iPXE has (nslookup aside, whose absence is handled).
var commands = []string{"echo", "set", "iseq", "isset", "goto", "kernel", "initrd", "boot", "imgfree", "inc", "sleep", "prompt", "exit", "chain",
	"ifopen", "ifclose", "iflinkwait", "ifconf", "vcreate", "dhcp", "nslookup", "shell"}

// lint checks what iPXE only finds out when it comes to the line: labels and commands.
func lint(t *testing.T, text string) {
	t.Helper()
	labels, wanted := map[string]bool{}, map[string]bool{}
	if !strings.HasPrefix(text, "#!ipxe\n") || !strings.HasSuffix(text, "\n") {
		t.Errorf("not a script: %q", cut(text))
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if label, ok := strings.CutPrefix(line, ":"); ok {
			if labels[label] {
				t.Errorf("label %s twice", label)
			}
			labels[label] = true
			continue
		}
		start := true
		words := strings.Fields(line)
		for i, word := range words {
			if start && !slices.Contains(commands, word) {
				t.Errorf("command %q in %q", word, line)
			}
			if start && word == "goto" {
				wanted[words[i+1]] = true
			}
			start = word == "||" || word == "&&"
		}
		if !printable([]byte(line)) {
			t.Errorf("line %q", line)
		}
	}
	for label := range wanted {
		if !labels[label] {
			t.Errorf("goto %s leads nowhere", label)
		}
	}
}

func newScripts(t *testing.T, c Config, templates ...Template) *Scripts {
	t.Helper()
	s, err := NewScripts(c, templates)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGolden(t *testing.T) {
	m := testMachine()
	auto, err := newScripts(t, testConfig()).For(&m)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "auto.ipxe", auto.Script)
	e := Entry{Base: "http://10.0.0.1:8080/", VLANs: []int{30, 12, 12, 5000}}
	for name, make := range map[string]func() (string, error){"boot.ipxe": e.BootScript, "autoexec.ipxe": e.AutoexecScript} {
		text, err := make()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, text)
	}
	golden(t, "message.ipxe", MessageScript("not in the hardware data", "add: a,b || c # ${mac} \x1b[2J\nreboot"))
}

// TestArguments: Smee's order, extra arguments last, global before own.
func TestArguments(t *testing.T) {
	c, m := testConfig(), testMachine()
	args, err := c.arguments(&m)
	if err != nil {
		t.Fatal(err)
	}
	want := `vlan_id=12 facility=onprem syslog_host=10.0.0.1 grpc_authority=10.0.0.1:42113 tinkerbell_tls=false worker_id=agent-7 ` +
		`hw_addr=52:54:00:12:34:56 tink_worker_image=127.0.0.1/embedded/tink-worker modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on iommu=pt ` +
		`initrd=initramfs console=tty0 console=ttyS1,115200 a=global serial=${serial} a=own b="c d"`
	if got := strings.Join(args, " "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	bare, err := (&Config{Consoles: []string{}}).arguments(&hardware.Machine{MAC: "02:00:00:00:00:01", Netboot: hardware.Netboot{Console: "tty0 ttyAMA0"}})
	if got := strings.Join(bare, " "); err != nil || got != "worker_id=02:00:00:00:00:01 hw_addr=02:00:00:00:00:01 modules=loop,squashfs,sd-mod,usb-storage "+
		"intel_iommu=on iommu=pt initrd=initramfs console=tty0 console=ttyAMA0" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestHostile: no value of a record, nor a host name that a DHCP client sent,
// becomes a command.
func TestHostile(t *testing.T) {
	evil := []string{"a\nreboot", "a\rreboot", "${reboot}", "a||", "x || reboot", "x && reboot", "x ; reboot", "# x", "x #y", "\x1b[2J", "ä", "a\x00b"}
	fields := map[string]func(m *hardware.Machine, s string){
		"hostname":     func(m *hardware.Machine, s string) { m.Hostname = s },
		"worker id":    func(m *hardware.Machine, s string) { m.Netboot.WorkerID = s },
		"facility":     func(m *hardware.Machine, s string) { m.Netboot.Facility = s },
		"hook url":     func(m *hardware.Machine, s string) { m.Netboot.HookURL = "http://h/" + s },
		"kernel":       func(m *hardware.Machine, s string) { m.Netboot.Kernel = s },
		"initrd":       func(m *hardware.Machine, s string) { m.Netboot.Initrd = s },
		"argument":     func(m *hardware.Machine, s string) { m.Netboot.KernelArgs = []string{s} },
		"console":      func(m *hardware.Machine, s string) { m.Netboot.Console = s },
		"worker image": func(m *hardware.Machine, s string) { m.Netboot.WorkerImage = s },
		"script url":   func(m *hardware.Machine, s string) { m.Netboot.ScriptURL = "http://h/" + s },
		"label":        func(m *hardware.Machine, s string) { m.Labels = map[string]string{"x": s} },
		"mac":          func(m *hardware.Machine, s string) { m.MAC = s },
	}
	s := newScripts(t, testConfig(), Template{Name: "t", Text: "echo {{.Hostname}} {{.Args}} {{.Kernel}} {{range $k, $v := .Labels}}{{$k}}={{$v}}{{end}}"})
	for name, set := range fields {
		for _, value := range evil {
			for _, template := range []string{"", "t"} {
				if name == "label" && template == "" {
					continue // labels are not in the default script
				}
				m := testMachine()
				set(&m, value)
				m.Netboot.Template = template
				if got, err := s.For(&m); err == nil && !harmless(got.Script, value) {
					t.Errorf("%s %q (template %q):\n%s", name, value, template, got.Script)
				} else if err != nil {
					lint(t, MessageScript(err.Error()))
				}
			}
		}
	}
}

// harmless says that a value that was let through means nothing to iPXE.
func harmless(script, value string) bool {
	return checkText(value) == nil || !strings.Contains(script, value) && !strings.Contains(script, "reboot")
}

func TestTemplates(t *testing.T) {
	templates := []Template{
		{Name: "named", Text: "echo named {{.Labels.zone}}"},
		{Name: "mac", MAC: "52-54-00-12-34-57", Text: "echo mac"},
		{Name: "worker", Selector: "type=worker", Text: "#!ipxe\necho worker {{.MACHyphens}} {{.IP}}/{{.Netmask}} {{.Args}}"},
		{Name: "closer", Selector: "type=worker,zone=a", Text: "echo closer"},
		{Name: "spare", Selector: "!type,rack", Text: "echo {{.Labels.missing}}"},
		{Name: "rack", Selector: "rack", Text: "echo rack"},
		{Name: "tie1", Selector: "x=1", Text: "echo"}, {Name: "tie2", Selector: "y=1", Text: "echo"},
	}
	s := newScripts(t, testConfig(), templates...)
	tests := []struct {
		name   string
		change func(m *hardware.Machine)
		origin string
		text   string
		err    string
	}{
		{"selector", func(m *hardware.Machine) {}, "template worker by selector type=worker", "#!ipxe\necho worker 52-54-00-12-34-56 10.0.0.11/255.255.240.0 vlan_id=12", ""},
		{"more specific", func(m *hardware.Machine) { m.Labels["zone"] = "a" }, "template closer by selector", "echo closer", ""},
		{"mac", func(m *hardware.Machine) { m.MAC = "52:54:00:12:34:57" }, "template mac by MAC address", "echo mac", ""},
		{"named", func(m *hardware.Machine) { m.Netboot.Template = "named" }, "template named, named by the hardware record", "echo named b", ""},
		{"named, not there", func(m *hardware.Machine) { m.Netboot.Template = "nope" }, "", "", `names template "nope", which is not there`},
		{"default", func(m *hardware.Machine) { m.Labels = nil }, "the default script", "booting HookOS", ""},
		{"url", func(m *hardware.Machine) { m.Netboot.ScriptURL = "http://x/y" }, "the URL in", "chain --autofree http://x/y", ""},
		{"text", func(m *hardware.Machine) { m.Netboot.Script = "shell\r\n" }, "the text in", "#!ipxe\nshell\n", ""},
		{"not allowed", func(m *hardware.Machine) { m.Netboot.Allow = hardware.Off }, "", "", "does not allow netboot"},
		{"tie", func(m *hardware.Machine) { m.Labels = map[string]string{"x": "1", "y": "1"} }, "", "", "templates tie1 (x=1) and tie2 (y=1) both match"},
		{"missing label", func(m *hardware.Machine) { m.Labels = map[string]string{"rack": "1"} }, "", "", `map has no entry for key "missing"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := testMachine()
			test.change(&m)
			got, err := s.For(&m)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want %s", err, test.err)
				}
				err := s.Check([]hardware.Machine{m})
				if m.Netboot.Allow == hardware.Off && err == nil {
					return // gets no script, and that is meant
				}
				if err == nil || !strings.Contains(err.Error(), "hardware.csv:3: ") {
					t.Errorf("Check: %v", err)
				}
				return
			}
			if err != nil || !strings.Contains(got.Script, test.text) || !strings.Contains(got.Origin, test.origin) {
				t.Errorf("%+v, %v", got, err)
			}
			lint(t, got.Script)
		})
	}
}

func TestTemplateErrors(t *testing.T) {
	tests := []struct {
		templates []Template
		config    Config
		want      string
	}{
		{[]Template{{Name: "a", Selector: "x=1,y"}, {Name: "b", Selector: "y,x=1"}}, Config{}, "templates a and b are both for x=1,y"},
		{[]Template{{Name: "a", MAC: "020000000001"}, {Name: "b", MAC: "02:00:00:00:00:01"}}, Config{}, "templates a and b are both for 02:00"},
		{[]Template{{Name: "a"}, {Name: "a"}}, Config{}, "template a: two have this name"},
		{[]Template{{Name: "a", Text: "{{.Nope"}}, Config{}, "template a: template: a:1"},
		{[]Template{{Name: "a", Selector: "="}}, Config{}, `template a: selector "="`},
		{[]Template{{Name: "a", Selector: "b", MAC: "x"}}, Config{}, "both a MAC address and a selector"},
		{[]Template{{}}, Config{}, "no name"},
		{nil, Config{HookURL: "hook"}, `hook URL "hook": not a URL`},
		{nil, Config{ExtraArgs: []string{"a\nb"}, Consoles: []string{"a b"}, GRPCAuthority: "${x}"}, "grpc authority"},
	}
	for _, test := range tests {
		if _, err := NewScripts(test.config, test.templates); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
	m := testMachine()
	for text, want := range map[string]string{
		"{{.Nope}}": "can't evaluate field Nope",
		"{{range .ArgList}}{{range $.ArgList}}{{range $.ArgList}}{{range $.ArgList}}{{$.Args}}{{end}}{{end}}{{end}}{{end}}": "more than 262144 bytes",
	} {
		s := newScripts(t, testConfig(), Template{Name: "t", Selector: "type=worker", Text: text})
		if _, err := s.For(&m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := newScripts(t, Config{}).For(&m); err == nil || !strings.Contains(err.Error(), "hook URL") {
		t.Errorf("no hook URL: %v", err)
	}
}

func TestPreview(t *testing.T) {
	rule, err := NewRule(fullSet(t), RuleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testMachine()
	m.Arch = "x86_64"
	s := newScripts(t, testConfig())
	text := s.Preview(&m, rule).String()
	for _, want := range []string{"node1 (52:54:00:12:34:56), from /etc/hooksmith/hardware.csv:3", "firmware, x86 BIOS (0)           binary by TFTP undionly.kpxe",
		"firmware, EFI x64 HTTP (16)      binary by HTTP ipxe.efi", "stock iPXE without HTTP          binary by tftp URL undionly.kpxe",
		"stock iPXE with HTTP             script", "script: the default script\n#!ipxe\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	m.Netboot.KernelArgs = []string{strings.Repeat("x", 2000)}
	if p := s.Preview(&m, rule); len(p.Notes) != 1 {
		t.Errorf("notes %q", p.Notes)
	}
	m.Netboot.Template = "nope"
	if p := s.Preview(&m, rule); p.Script != "" || !strings.Contains(p.String(), "no script: the hardware record names template") {
		t.Errorf("%s", p)
	}
}
