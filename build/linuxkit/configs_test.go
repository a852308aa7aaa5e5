package linuxkit

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// configs reads templates of the repository with their variables set.
func configs(t *testing.T, names ...string) []Source {
	t.Helper()
	vars := map[string]string{
		"HOOK_KERNEL_IMAGE": "hooksmith/linux-image:1", "HOOK_KERNEL_VERSION": "6.12.1", "HOOK_VERSION": "1.0", "HOOK_FLAVOR": "f",
		"HOOK_CMDLINE":  `console=tty0 dyndbg="file x: +p # y" a='b'`,
		"HOOK_SSH_KEYS": "ssh-ed25519 AAAA one@a\nssh-rsa BBBB \"two\": x\n",
	}
	for _, name := range []string{"INIT", "NETWORK", "NTPD", "DOCKER", "BOOTKIT", "SSHD"} {
		vars["HOOK_CONTAINER_"+name+"_IMAGE"] = "hooksmith/" + strings.ToLower(name) + ":0123abcd"
	}
	var sources []Source
	for _, name := range names {
		data, err := os.ReadFile("../../configs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		data = Expand(data, vars)
		code := regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAll(data, nil)
		if left := variable.Find(code); left != nil {
			t.Errorf("%s: variable %s is not documented to be set", name, left)
		}
		sources = append(sources, Source{name, data})
	}
	return sources
}

func TestDefaultTemplate(t *testing.T) {
	cfg, err := Parse(configs(t, "hook.yaml")...)
	if err != nil {
		t.Fatal(err)
	}
	var services []string
	for _, s := range cfg.Services {
		services = append(services, s.Name.Value)
	}
	if want := []string{"network", "ntpd", "hook-docker", "hook-bootkit"}; !slices.Equal(services, want) {
		t.Errorf("%v", services)
	}
	if want := `console=tty0 dyndbg="file x: +p # y" a='b'`; cfg.Kernel.Cmdline.Value != want {
		t.Errorf("%q, want %q", cfg.Kernel.Cmdline.Value, want)
	}
	if findings := Lint(cfg, Info{}); len(findings) != 0 {
		t.Errorf("%v", findings)
	}
}

func TestSSHTemplate(t *testing.T) {
	cfg, err := Parse(configs(t, "hook.yaml", "hook-ssh.yaml")...)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Services) != 5 || cfg.Services[4].Name.Value != "sshd" {
		t.Errorf("%v", cfg.Services)
	}
	keys := cfg.Files[len(cfg.Files)-2]
	if want := "ssh-ed25519 AAAA one@a\nssh-rsa BBBB \"two\": x\n"; strings.TrimRight(keys.Contents.Value, "\n") != strings.TrimRight(want, "\n") {
		t.Errorf("%q", keys.Contents.Value)
	}
	if findings := Lint(cfg, Info{}); len(findings) != 0 {
		t.Errorf("%v", findings)
	}
}
