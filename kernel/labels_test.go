package kernel

import "testing"

func TestConfigOf(t *testing.T) {
	for label, want := range map[string]string{
		"": "generic", "vm": "vm", "generic-6.12.y-x86_64": "generic", "vm-6.12.y-aarch64": "vm", "my-own-6.6.y-x86_64": "my-own", "my-own": "my-own", ".y-": ".y-",
	} {
		if got := ConfigOf(map[string]string{LabelConfig: label}); got != want {
			t.Errorf("%q: %q, want %q", label, got, want)
		}
	}
	if got := ConfigOf(nil); got != "generic" {
		t.Errorf("no labels: %q", got)
	}
}
