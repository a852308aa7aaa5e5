package modules

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"hooksmith/guest/cmdline"
)

func TestPolicyRead(t *testing.T) {
	var p Policy
	p.Read(`# comment
blacklist nouveau
blacklist snd-pcsp # not a comment in modprobe.d, but harmless
options igb max_vfs=7 \
  debug=1
options igb x=2
install floppy /bin/false
install loop /sbin/modprobe --ignore-install loop
softdep libcrc32c pre: crc32c
softdep a pre: b-1 c post: d
softdep a lost
alias net-pf-10 off
alias broken
frobnicate x y
remove x /bin/true
`)
	check(t, "blacklist", p.blacklist, map[string]bool{"nouveau": true, "snd_pcsp": true})
	check(t, "never", p.never, map[string]bool{"floppy": true})
	check(t, "options", p.options, map[string][]string{"igb": {"max_vfs=7", "debug=1", "x=2"}})
	check(t, "before", p.before, map[string][]string{"libcrc32c": {"crc32c"}, "a": {"b_1", "c"}})
	check(t, "after", p.after, map[string][]string{"a": {"d"}})
	check(t, "aliases", p.aliases.String(), "alias net-pf-10 off\n")
}

func TestPolicyCommandLine(t *testing.T) {
	const line = `quiet modprobe.blacklist=a-b,c module_blacklist=d igb.max_vfs=7 loop.max_loop=1 loop.max_loop=2 dyn.dbg "odd.name=with space" ` +
		`x.y="p q" ipam=00-11.x: .z=1 console=ttyS0,115200 modules=loop,sd-mod,,`
	params := cmdline.Parse(line)
	var p Policy
	p.CommandLine(line, params)
	check(t, "blacklist", p.blacklist, map[string]bool{"a_b": true, "c": true, "d": true})
	check(t, "never", p.never, map[string]bool{"d": true})
	check(t, "options", p.options, map[string][]string{
		"igb": {"max_vfs=7"}, "loop": {"max_loop=1", "max_loop=2"}, "dyn": {"dbg"}, "odd": {`name="with space"`}, "x": {`y="p q"`},
	})
	check(t, "requested", Requested(params), []string{"loop", "sd_mod"})
}

func TestDirs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.conf": "overlay\n# no\n; no\n\nbr_netfilter\n", "a.conf": "8021q", "c.txt": "never"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(t, "list", List(dir, filepath.Join(dir, "absent")), []string{"8021q", "overlay", "br_netfilter"})
	var p Policy
	p.ReadDirs(dir)
	check(t, "blacklist", p.blacklist, map[string]bool(nil))
}

func check[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
