package serve

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func environment(kv ...string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		for _, each := range kv {
			if k, v, _ := strings.Cut(each, "="); k == key {
				return v, true
			}
		}
		return "", false
	}
}

// Flags over environment over file over defaults, value by value.
func TestLoadPrecedence(t *testing.T) {
	file := `
# a comment
interface: eth0
hardware: [hardware.csv, /etc/more.yaml]
lease_time: 2h
http-port: 8080
https-port: 8443
kernel-args: [a=1, "b=2"]
ra: on
tls-cert: cert.pem
tls-key: key.pem
templates:
- {name: debug, file: debug.ipxe}
- name: inline
  mac: "02:00:00:00:00:01"
  text: |
    shell
`
	l, err := Load(Inputs{
		File: "/etc/hooksmith/serve.yaml", Data: []byte(file),
		LookupEnv: environment("HOOKSMITH_HTTP_PORT=81", "HOOKSMITH_DNS=10.0.0.1,10.0.0.2", "HOOKSMITH_KERNEL_ARGS=c=3 console=ttyS1,115200"),
		Flags:     map[string][]string{"http-port": {"82"}, "interface": {"eth1", "eth2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	if c.HTTPPort != 82 || c.HTTPSPort != 8443 || c.LeaseTime != 2*time.Hour || !c.RA {
		t.Errorf("got %+v", c)
	}
	for _, tt := range []struct{ got, want []string }{
		{c.Interfaces, []string{"eth1", "eth2"}},
		{c.Hardware, []string{"/etc/hooksmith/hardware.csv", "/etc/more.yaml"}},
		{c.DNS, []string{"10.0.0.1", "10.0.0.2"}},
		{c.KernelArgs, []string{"c=3", "console=ttyS1,115200"}},
		{[]string{c.TLSCert, c.Templates[0].File}, []string{"/etc/hooksmith/cert.pem", "/etc/hooksmith/debug.ipxe"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	for name, want := range map[string]string{
		"http-port": "--http-port", "dns": "HOOKSMITH_DNS", "lease-time": "/etc/hooksmith/serve.yaml:5:1", "syslog": "",
	} {
		if got := l.Origin[name]; got != want {
			t.Errorf("%s comes from %q, want %q", name, got, want)
		}
	}
	text, err := l.YAML(l.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`http-port: 82 # --http-port`, `dns: ["10.0.0.1", "10.0.0.2"] # HOOKSMITH_DNS`, `syslog: "on" # default`, `lease-time: "2h0m0s" # /etc/hooksmith/serve.yaml:5:1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// What is printed can be read again, and means the same.
	again, err := Load(Inputs{File: "x.yaml", Data: []byte(text), LookupEnv: environment()})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if second, err := again.YAML(again.Config); err != nil || stripComments(second) != stripComments(text) {
		t.Errorf("%v; printed again:\n%s\nwas:\n%s", err, second, text)
	}
}

func stripComments(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		before, _, _ := strings.Cut(line, "# ")
		b.WriteString(strings.TrimSpace(before) + "\n")
	}
	return b.String()
}

func TestLoadErrors(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      map[string][]string
		want       string
	}{
		{"unknown key", "interface: eth0\nhttp-prot: 80\n", nil, nil, `serve.yaml:2:1: unknown setting "http-prot"`},
		{"value of a choice", "a: 1\ndhcp-mode: proxi\n", nil, nil, `serve.yaml:2:12: dhcp-mode: "proxi": must be one of reservation, pool, proxy, auto-proxy, off`},
		{"list where one value is", "state: [a, b]\n", nil, nil, "serve.yaml:1:8: state: takes one value, not a list"},
		{"object", "dns: {a: b}\n", nil, nil, "serve.yaml:1:6: dns: want a value"},
		{"twice", "ra: on\nra: off\n", nil, nil, "serve.yaml:2:1: "},
		{"syntax", "ra: [\n", nil, nil, "serve.yaml:1:"},
		{"no keys", "hello\n", nil, nil, "serve.yaml:1:1: want NAME: VALUE"},
		{"documents", "ra: on\n---\nra: on\n", nil, nil, "serve.yaml: more than one document"},
		{"unknown key of a template", "templates:\n- nam: x\n", nil, nil, `serve.yaml:2:3: unknown field "nam"`},
		{"template without a text", "templates:\n- name: x\n", nil, nil, "templates[0]: give either file or text"},
		{"port", "http-port: 70000\n", nil, nil, "serve.yaml:1:12: http-port: 70000: want 1 to 65535"},
		{"variable", "", []string{"HOOKSMITH_POOL=10.0.0.9-10.0.0.1"}, nil, `HOOKSMITH_POOL: "10.0.0.9-10.0.0.1": want FIRST-LAST`},
		{"flag", "", nil, map[string][]string{"lease-time": {"1s"}}, "--lease-time: 1s: want 1m0s to 8760h0m0s"},
		{"together", "unknown: pool\n", []string{"HOOKSMITH_DHCP_MODE=proxy"}, nil, "serve.yaml:1:1: unknown: a proxy gives no addresses"},
		{"key without certificate", "", nil, map[string][]string{"tls-key": {"k"}}, "tls-cert and tls-key: both are needed"},
		{"ports", "http-port: 99\nhttps-port: 99\ntls-cert: a\ntls-key: b\n", nil, nil, "https-port: http-port is 99 too"},
		{"override", "", nil, map[string][]string{"address": {"fe80::1"}}, `--address: "fe80::1" is no IPv4 address`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Inputs{File: "serve.yaml", Data: []byte(tt.file), LookupEnv: environment(tt.env...), Flags: tt.flags})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// The zero Config is valid, and so are the defaults put into it.
func TestZeroConfig(t *testing.T) {
	for _, c := range []Config{{}, (Config{}).withDefaults()} {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	var c Config
	for _, s := range c.Settings() {
		if seen[s.Name] || s.Usage == "" || s.Section == "" || strings.ToLower(s.Name) != s.Name {
			t.Errorf("setting %+v", s)
		}
		seen[s.Name] = true
	}
}

// Whatever the file, there is an answer and no panic.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"interface: eth0\n", "a: !0 #", "templates:\n- {name: x, text: y}\n", "ra: *x\n", "dns: [1.1.1.1, ~]\n", "? a\n: b\n", "<<: {ra: on}\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Load(Inputs{File: "serve.yaml", Data: data, LookupEnv: environment()})
		if err != nil {
			return
		}
		if _, err := l.YAML(l.withDefaults()); err != nil {
			t.Errorf("valid, but cannot be printed: %v", err)
		}
	})
}

func TestRelativePaths(t *testing.T) {
	dir := t.TempDir()
	l, err := Load(Inputs{
		File: filepath.Join(dir, "serve.yaml"), Data: []byte("artifacts: hook\nhardware: h.csv\n"),
		LookupEnv: environment(), Flags: map[string][]string{"artifacts": {"here"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.Artifacts != "here" || l.Hardware[0] != filepath.Join(dir, "h.csv") || !filepath.IsAbs(dir) || os.PathSeparator != '/' {
		t.Errorf("artifacts %s, hardware %s", l.Artifacts, l.Hardware)
	}
}
