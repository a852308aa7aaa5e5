package build

import (
	"fmt"
	"math"
	"strings"
	"time"

	"hooksmith/build/rootfs"
)

// lostTimes are files whose modification time an initramfs cannot have: its
// field has 32 bits, which is from 1970 to 2106. Package initramfs gives them
// the nearest time that it can, whole seconds as for all others.
type lostTimes struct {
	files   int
	example string
	of      []string // what they belong to
}

// note looks for such files in a tree. A file of several names counts for each.
func (l *lostTimes) note(of string, t *rootfs.Tree) {
	before := l.files
	_ = t.Walk(func(p string, n *rootfs.Inode) error {
		if s := n.ModTime.Unix(); n.ModTime.IsZero() || s >= 0 && s <= math.MaxUint32 { // zero: nobody said one
			return nil
		}
		if l.files++; l.files == 1 {
			if _, inLayer, ok := strings.Cut(p, "/diff/"); ok && strings.HasPrefix(p, embedDir+"/overlay2/") {
				p = inLayer
			}
			l.example = fmt.Sprintf("%q of %s", "/"+p, n.ModTime.UTC().Format(time.RFC3339))
		}
		return nil
	})
	if l.files > before {
		l.of = append(l.of, of)
	}
}

// warnTimes tells, once for a build, of times that are changed. tree is the
// template's.
func (b *builder) warnTimes(tree *rootfs.Tree, embedded []embeddedTree) {
	var lost lostTimes
	lost.note("the template", tree)
	for _, e := range embedded {
		lost.note(strings.TrimPrefix(e.name, groupEmbed+" ")+" of "+strings.Join(e.holds, ", "), e.tree)
	}
	if lost.files > 0 {
		b.opt.Log.Warn("files have times that an initramfs cannot have, which is from 1970 to 2106: they get the nearest",
			"files", lost.files, "example", lost.example, "of", strings.Join(lost.of, "; "))
	}
}
