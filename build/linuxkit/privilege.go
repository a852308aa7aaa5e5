package linuxkit

import "slices"

// privileges names settings that hand a container the host. They are
// findings, not errors: HookOS has containers that need them (Docker), and
// the rule says which others have them.
func (l *linter) privileges(c *Container, s *Settings) {
	for _, list := range []Setting[[]string]{s.Capabilities, s.CapabilitiesAdd, s.Ambient} {
		for i, name := range list.Value {
			if isAll(name) {
				l.add(list.at(i), "privilege", "list the capabilities that it uses", "%s: has all capabilities", c)
			}
		}
		if n := len(list.Value); n > 1 && slices.ContainsFunc(list.Value, isAll) {
			l.allWithAdd(c, list.Pos)
		}
	}
	for _, ns := range []struct {
		name  string
		value Setting[string]
	}{{"PID", s.Pid}, {"network", s.Net}, {"IPC", s.Ipc}} {
		if ns.value.Value == "host" || ns.value.Value == "root" {
			l.add(ns.value.Pos, "privilege", "leave it out or write new", "%s: shares the host's %s namespace", c, ns.name)
		}
	}
	for i, dev := range s.Devices.Value {
		if dev.Path == allDevices {
			l.add(s.Devices.at(i), "privilege", "list the devices that it uses", "%s: may use all devices of type %s", c, dev.Type)
		}
	}
	for _, list := range []Setting[[]string]{s.Binds, s.BindsAdd} {
		for i, bind := range list.Value {
			m, err := parseBind(bind)
			if err == nil && slices.Contains(hostPaths, m.Source) && !slices.Contains(m.Options, "ro") {
				l.add(list.at(i), "privilege", "bind what it uses, or add :ro", "%s: can write the host's %s", c, m.Source)
			}
		}
	}
}

// hostPaths give whoever can write them the whole machine.
var hostPaths = []string{"/", "/dev", "/containers", "/proc", "/sys", "/etc", "/usr", "/run/containerd"}

func (l *linter) allWithAdd(c *Container, pos Pos) {
	l.add(pos, "all-with-add", "write all alone", "%s: capability all beside others is an error in LinuxKit; here it takes them in", c)
}

// merged checks what only the merge of label and file shows. Places are those
// of the file or of the label, whichever the setting is from.
func (l *linter) merged(rc *ResolvedContainer) {
	c := rc.Container
	l.container(c, &rc.Merged)
	if len(rc.Merged.Command.Value) == 0 {
		l.add(c.Pos, "no-command", "set command", "%s: neither the file nor image %s has a command", c, rc.Ref)
	}
}
