package modules

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"hooksmith/guest/modalias"
)

// testDeps has dependencies in an order in which loading them one by one would fail.
const testDeps = `kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz kernel/drivers/net/net_failover.ko.xz
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/net/core/failover.ko.xz:
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/net/netfilter/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/drivers/net/a.ko:
kernel/drivers/net/b.ko:
kernel/drivers/scsi/s.ko:
kernel/loop1.ko:
kernel/loop2.ko:
`

const testAliases = `alias virtio:d00000001v* virtio_net
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias pci:a* a
alias pci:b* b
alias pci:s* s
alias pci:b* absent
`

const testSoftdeps = "softdep libcrc32c pre: crc32c\nsoftdep loop1 pre: loop2\nsoftdep loop2 pre: loop1 post: a\n"

// kernel records what it is given, in order, and refuses some.
type kernel struct {
	mu       sync.Mutex
	inserted []string
	refuse   map[string]error
}

func (k *kernel) insert(file, params string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refuse[modalias.ModuleOf(file)]; err != nil {
		return err
	}
	k.inserted = append(k.inserted, strings.TrimSpace(modalias.ModuleOf(file)+" "+params))
	return nil
}

func testLoader(t *testing.T, policy *Policy) (*Loader, *kernel) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": testDeps, "modules.alias": testAliases, "modules.softdep": testSoftdeps, "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir, policy)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{refuse: map[string]error{}}
	l.insert, l.sys = k.insert, dir
	return l, k
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name   string
		rules  string
		refuse map[string]error
		live   string
		want   []string
		err    error
	}{
		{name: "virtio-net", want: []string{"failover", "net_failover", "virtio_net"}},
		{name: "nf_conntrack", want: []string{"crc32c_generic", "crc32c_intel", "libcrc32c", "nf_conntrack"}},
		{name: "crc32c", want: []string{"crc32c_generic", "crc32c_intel"}},
		{name: "nf_conntrack", refuse: map[string]error{"crc32c_intel": unix.ENODEV}, want: []string{"crc32c_generic", "libcrc32c", "nf_conntrack"}},
		{name: "virtio_net", refuse: map[string]error{"failover": unix.ENOENT}, err: unix.ENOENT},
		{name: "virtio_net", refuse: map[string]error{"failover": unix.EEXIST}, want: []string{"net_failover", "virtio_net"}},
		{name: "virtio_net", live: "failover", want: []string{"net_failover", "virtio_net"}},
		{name: "loop1", want: []string{"loop2", "a", "loop1"}},
		{name: "loop2", want: []string{"loop1", "loop2", "a"}},
		{name: "a", rules: "options a x=1\noptions a y", want: []string{"a x=1 y"}},
		{name: "a", rules: "blacklist a", want: []string{"a"}},
		{name: "a", rules: "install a /bin/false", err: os.ErrPermission},
		{name: "mine", rules: "alias mine a", want: []string{"a"}},
		{name: "ext4"},
		{name: "nonsense", err: ErrUnknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := &Policy{}
			policy.Read(test.rules)
			l, k := testLoader(t, policy)
			k.refuse = test.refuse
			if test.live != "" {
				dir := filepath.Join(l.sys, "module", test.live)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "initstate"), []byte("live\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := l.Load(test.name)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if !slices.Equal(k.inserted, test.want) {
				t.Errorf("inserted %q, want %q", k.inserted, test.want)
			}
		})
	}
}

func TestLoadRetries(t *testing.T) {
	l, k := testLoader(t, &Policy{})
	k.refuse["a"] = unix.ENODEV
	if err := l.Load("a"); !errors.Is(err, unix.ENODEV) || !Absent(err) {
		t.Fatalf("error %v", err)
	}
	delete(k.refuse, "a")
	for range 2 {
		if err := l.Load("a"); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(k.inserted, []string{"a"}) || l.Loaded() != 1 {
		t.Errorf("inserted %q, counted %d", k.inserted, l.Loaded())
	}
}

func TestWanted(t *testing.T) {
	policy := &Policy{}
	policy.Read("blacklist s")
	l, _ := testLoader(t, policy)
	got := l.Wanted([]string{"pci:b1", "pci:s", "pci:a", "pci:b2", "virtio:d00000001v1"})
	if want := []string{"b", "absent", "a", "virtio_net"}; !slices.Equal(got, want) {
		t.Errorf("Wanted = %q, want %q", got, want)
	}
}

func TestLoadAll(t *testing.T) {
	l, k := testLoader(t, &Policy{})
	var mu sync.Mutex
	var logged []string
	l.Logf = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		logged = append(logged, format)
	}
	l.LoadAll(t.Context(), []string{"b", "nf_conntrack", "a", "s", "virtio_net", "libcrc32c", "absent"})
	nics := slices.DeleteFunc(slices.Clone(k.inserted), func(m string) bool { return !slices.Contains([]string{"a", "b", "virtio_net"}, m) })
	if want := []string{"b", "a", "virtio_net"}; !slices.Equal(nics, want) {
		t.Errorf("NIC drivers in the order %q, want %q", nics, want)
	}
	if len(k.inserted) != 10 || len(logged) != 1 {
		t.Errorf("inserted %q, %d messages", k.inserted, len(logged))
	}
}

func TestOpenWithoutModules(t *testing.T) {
	if _, err := Open(t.TempDir(), &Policy{}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "modules.dep") {
		t.Errorf("error %v", err)
	}
}

func sysTree(t *testing.T, files map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, text := range files {
		file := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestDevices(t *testing.T) {
	sys := sysTree(t, map[string]string{
		"bus/pci/devices/0000:00:03.0/modalias": "pci:b", "bus/pci/devices/0000:00:02.0/modalias": "pci:a", "bus/pci/devices/0000:00:04.0/modalias": "pci:a",
		"bus/virtio/devices/virtio0/modalias": "virtio:d00000004v00001AF4", "bus/empty/devices/x/modalias": "", "class/dmi/id/modalias": "dmi:x",
	})
	want := []string{"pci:a", "pci:b", "virtio:d00000004v00001AF4", "dmi:x"}
	if got := Devices(sys); !slices.Equal(got, want) {
		t.Errorf("Devices = %q, want %q", got, want)
	}
}

func TestEntropy(t *testing.T) {
	for modalias, want := range map[string][]string{"virtio:d00000004v00001AF4": {"a"}, "virtio:d00000001v00001AF4": nil} {
		policy := &Policy{}
		policy.Read("alias virtio:d00000004v* a")
		l, k := testLoader(t, policy)
		sys := sysTree(t, map[string]string{"bus/virtio/devices/virtio0/modalias": modalias, "bus/virtio/devices/virtio1/modalias": "virtio:d00000002"})
		(&Plugger{Loader: l, Sys: sys}).Entropy(t.Context())
		if !slices.Equal(k.inserted, want) {
			t.Errorf("%s: inserted %q, want %q", modalias, k.inserted, want)
		}
	}
}

func TestPlugger(t *testing.T) {
	sys := sysTree(t, map[string]string{"bus/pci/devices/1/modalias": "pci:a", "kernel/uevent_seqnum": "7"})
	l, k := testLoader(t, &Policy{})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &Plugger{Loader: l, Sys: sys}
		go p.Run(ctx)
		if n := p.Coldplug(ctx); n != 1 {
			t.Errorf("%d devices", n)
		}
		if err := p.Settle(ctx); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(sys, "kernel/uevent_seqnum"), []byte("9\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		settled := make(chan error)
		go func() { settled <- p.Settle(ctx) }()
		p.Event(8, "")
		synctest.Wait()
		select {
		case <-settled:
			t.Error("settled while an event is on its way")
		default:
		}
		p.Event(9, "pci:b")
		if err := <-settled; err != nil {
			t.Error(err)
		}
		if !slices.Equal(k.inserted, []string{"a", "b"}) {
			t.Errorf("inserted %q", k.inserted)
		}
		cancel()
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Plugger{Loader: l, Sys: sys}).Settle(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Settle after the end: %v", err)
	}
}
