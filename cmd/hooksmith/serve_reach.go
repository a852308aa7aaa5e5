package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"hooksmith/serve"
)

// reachable says which of the files that a service is to use it will not find
// or not be let to: its /tmp is one of its own, and its user is nobody who may
// enter a home folder.
func reachable(program string, loaded *serve.Loaded, name string) (notes []string) {
	files := map[string]string{"this program": program}
	for _, s := range loaded.Settings() {
		for _, path := range filesOf(s) {
			files["--"+s.Name+" "+path] = path
		}
	}
	who := account(name)
	for what, path := range files {
		if why := who.outOfReach(path); why != "" {
			notes = append(notes, what+": "+why)
		}
	}
	slices.Sort(notes)
	return notes
}

// filesOf are the files and folders that a setting names.
func filesOf(s *serve.Setting) []string {
	switch value := absolute(s).(type) {
	case string:
		if isFile(s.Name) && value != "" {
			return []string{value}
		}
	case []string:
		if s.Name == "hardware" {
			return value
		}
	}
	return nil
}

// reader is whose rights count.
type reader struct {
	name   string
	uid    uint32
	groups []uint32
	known  bool // to this host; a user that is still to be made owns nothing
}

func account(name string) reader {
	r := reader{name: name}
	u, err := user.Lookup(name)
	if err != nil {
		return r
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	r.uid, r.known = uint32(uid), err == nil
	ids, _ := u.GroupIds() // none: as others
	for _, id := range append(ids, u.Gid) {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			r.groups = append(r.groups, uint32(gid))
		}
	}
	return r
}

// outOfReach says why the service cannot use a file, "" if nothing speaks
// against it.
func (r reader) outOfReach(path string) string {
	const there = "move it, as to /usr/local/bin or /srv"
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for _, tmp := range []string{"/tmp/", "/var/tmp/"} {
		if strings.HasPrefix(path, tmp) || strings.HasPrefix(real, tmp) {
			return "the service has a " + tmp + " of its own (PrivateTmp) and does not see this one: " + there
		}
	}
	for dir := real; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() && !r.enters(info) {
			return fmt.Sprintf("the user %s may not enter %s (%v): %s, or allow it: sudo chmod o+x %s", r.name, dir, info.Mode(), there, dir)
		}
	}
	return ""
}

// enters reports whether the reader may go through a folder, as its mode says.
func (r reader) enters(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	bit := fs.FileMode(0o001)
	switch {
	case !ok:
		return true
	case r.known && st.Uid == r.uid:
		bit = 0o100
	case slices.Contains(r.groups, st.Gid):
		bit = 0o010
	}
	return info.Mode()&bit != 0
}
