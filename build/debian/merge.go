package debian

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// mergedDirs are the folders of the root that a merged /usr turns into links.
var mergedDirs = map[string]bool{"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true, "libo32": true}

// cleanName returns the path of a tar entry without "./" before and "/" after
// it; "" is the root. Anything that could leave the root is an error.
func cleanName(name string) (string, error) {
	p := strings.TrimSuffix(name, "/")
	for strings.HasPrefix(p, "./") {
		p = p[2:]
	}
	if p == "." || p == "" && strings.HasPrefix(name, "./") {
		return "", nil
	}
	if !fs.ValidPath(p) || strings.ContainsAny(p, "\x00\n") {
		return "", fmt.Errorf("path %q is not allowed", name)
	}
	if len(p) > 4096 {
		return "", fmt.Errorf("path %q... is too long", name[:64])
	}
	return p, nil
}

// usrMerge returns where a file of a package lies once /usr is merged.
func usrMerge(p string) string {
	first, _, _ := strings.Cut(p, "/")
	if mergedDirs[first] {
		return "usr/" + p
	}
	return p
}

// mergeLink returns the target that a symbolic link must have after its move
// from old to usrMerge(old). self means the link would point at itself: a
// compatibility link between the two halves of a split /usr.
//
// Only a relative target of a link that moved needs to change; all others find
// their way through the links in the root.
func mergeLink(old, target string) (merged string, self bool) {
	at := usrMerge(old)
	abs := target
	if !path.IsAbs(target) {
		abs = path.Join("/", path.Dir(old), target)
	}
	dest := usrMerge(strings.TrimPrefix(path.Clean(abs), "/"))
	if dest == at {
		return target, true
	}
	if path.IsAbs(target) || at == old {
		return target, false
	}
	return relative(path.Dir(at), dest), false
}

// relative returns the shortest relative path from folder dir to dest; both
// are clean and without leading slash.
func relative(dir, dest string) string {
	from, to := strings.Split(dir, "/"), strings.Split(dest, "/")
	if dir == "." {
		from = nil
	}
	for len(from) > 0 && len(to) > 1 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(to, "/")
}
