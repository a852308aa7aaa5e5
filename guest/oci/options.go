package oci

import (
	"strings"

	"golang.org/x/sys/unix"
)

// mountFlags are the options of mount(8) that are flags, as runc knows them. clear marks those that take a flag away.
var mountFlags = map[string]struct {
	flag  uintptr
	clear bool
}{
	"bind": {unix.MS_BIND, false}, "rbind": {unix.MS_BIND | unix.MS_REC, false}, "remount": {unix.MS_REMOUNT, false},
	"ro": {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true}, "dirsync": {unix.MS_DIRSYNC, false},
	"mand": {unix.MS_MANDLOCK, false}, "nomand": {unix.MS_MANDLOCK, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "diratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, false}, "norelatime": {unix.MS_RELATIME, true},
	"strictatime": {unix.MS_STRICTATIME, false}, "nostrictatime": {unix.MS_STRICTATIME, true},
	"silent": {unix.MS_SILENT, false}, "loud": {unix.MS_SILENT, true}, "defaults": {0, false},
}

// propagations are the options that need a mount(2) call of their own.
var propagations = map[string]uintptr{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// mountOptions are the options of a mount, sorted by what they are for mount(2).
type mountOptions struct {
	flags       uintptr
	propagation []uintptr
	data        []string
}

func parseOptions(options []string) mountOptions {
	var o mountOptions
	for _, option := range options {
		if f, ok := mountFlags[option]; ok {
			if f.clear {
				o.flags &^= f.flag
			} else {
				o.flags |= f.flag
			}
		} else if p, ok := propagations[option]; ok {
			o.propagation = append(o.propagation, p)
		} else if option != "" {
			o.data = append(o.data, option)
		}
	}
	return o
}

// value finds "key=value" among the file system's own options.
func (o mountOptions) value(key string) string {
	for _, d := range o.data {
		if v, ok := strings.CutPrefix(d, key+"="); ok {
			return v
		}
	}
	return ""
}
