package linuxkit

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities are the kernel's, in the order of their numbers
// (include/uapi/linux/capability.h).
var capabilities = strings.Fields(`
	CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID
	CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW
	CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT
	CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD
	CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG
	CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

func isAll(name string) bool { return strings.EqualFold(name, "all") }

// checkCapability checks an element of a list of n names. `all` is allowed
// beside others, which it absorbs; `none` only stands alone.
func checkCapability(name string, n int) error {
	switch {
	case isAll(name), name == "none" && n == 1, slices.Contains(capabilities, name):
		return nil
	case name == "none":
		return fmt.Errorf("capability \"none\" among others")
	}
	hint := didYouMean(name, capabilities)
	if with := "CAP_" + strings.ToUpper(strings.TrimPrefix(name, "CAP_")); slices.Contains(capabilities, with) {
		hint = fmt.Sprintf("; did you mean %q?", with)
	}
	return fmt.Errorf("unknown capability: %.80q%s", name, hint)
}

// expandCapabilities returns the capabilities that a merged list means:
// without duplicates, `all` as the whole table, `none` as nothing.
func expandCapabilities(names []string) []string {
	if slices.ContainsFunc(names, isAll) {
		return slices.Clone(capabilities)
	}
	var caps []string
	for _, name := range names {
		if name != "none" && !slices.Contains(caps, name) {
			caps = append(caps, name)
		}
	}
	return caps
}

// ociCapabilities distributes capabilities over the five sets.
func ociCapabilities(effective, ambient []string) *specs.LinuxCapabilities {
	bounding := slices.Concat(effective, ambient)
	slices.Sort(bounding)
	bounding = slices.Compact(bounding)
	return &specs.LinuxCapabilities{
		Bounding:    bounding,
		Effective:   effective,
		Inheritable: bounding,
		Permitted:   bounding,
		Ambient:     ambient,
	}
}
