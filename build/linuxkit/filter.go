package linuxkit

import (
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// LinuxKit changes every image tree a little: it drops what a Docker build
// leaves behind, replaces two files and makes sure of some folders
// (linuxkit.md 1.7). Here that is one layer below the image's and one above.
//
// Intended differences: folders that the image has keep their times; files
// below the image's dev/pts and dev/shm stay; a symbolic link as etc/hosts or
// etc/resolv.conf is replaced rather than an error.

const hostsFile = "127.0.0.1       localhost\n" +
	"::1     localhost ip6-localhost ip6-loopback\n" +
	"fe00::0 ip6-localnet\n" +
	"ff00::0 ip6-mcastprefix\n" +
	"ff02::1 ip6-allnodes\n" +
	"ff02::2 ip6-allrouters\n"

const resolvFile = "\n# no resolv.conf configured\n"

// resolvLink is where init images and volumes have their resolv.conf: what
// the network service of the running system writes.
const resolvLink = "/run/resolvconf/resolv.conf"

// filter holds the layers around an image.
type filter struct{ touch, cover v1.Layer }

// newFilters makes the filter of container images, and that of init images
// and volumes. The root folder of a container is made sure of too: it is
// `lower`, which no image of its own accord describes. That of an init image
// is / itself, and not touched.
func newFilters(modTime time.Time) (container, volume, initial filter, err error) {
	file := Entry{Name: "etc/resolv.conf", Mode: 0o644, Data: []byte(resolvFile)}
	link := Entry{Name: "etc/resolv.conf", Mode: 0o777, Link: resolvLink}
	fileCover, err := NewLayer(modTime, coverEntries(file)...)
	if err != nil {
		return
	}
	linkCover, err := NewLayer(modTime, coverEntries(link)...)
	if err != nil {
		return
	}
	rootTouch, err := NewLayer(modTime, touchEntries(Entry{Name: "./", Mode: 0o755})...)
	if err != nil {
		return
	}
	touch, err := NewLayer(modTime, touchEntries()...)
	if err != nil {
		return
	}
	return filter{rootTouch, fileCover}, filter{rootTouch, linkCover}, filter{touch, linkCover}, nil
}

// touchEntries must exist, whatever they are in the image.
func touchEntries(before ...Entry) []Entry {
	return append(before,
		Entry{Name: "dev/", Mode: 0o755},
		Entry{Name: "etc/", Mode: 0o755},
		Entry{Name: "etc/mtab", Mode: 0o755, Link: "/proc/mounts"},
		Entry{Name: "proc/", Mode: 0o755},
		Entry{Name: "sys/", Mode: 0o755},
	)
}

// coverEntries replace what is in the image. Entries named .wh. are deletions.
func coverEntries(resolv Entry) []Entry {
	return []Entry{
		{Name: ".wh..dockerenv", Mode: 0o600},
		{Name: ".wh.Dockerfile", Mode: 0o600},
		{Name: "dev/.wh.console", Mode: 0o600},
		{Name: "dev/pts/", Mode: 0o755},
		{Name: "dev/shm/", Mode: 0o755},
		{Name: "etc/.wh.hostname", Mode: 0o600},
		{Name: "etc/hosts", Mode: 0o644, Data: []byte(hostsFile)},
		resolv,
	}
}

// around returns the image's layers, lowest first, inside the filter.
func (f filter) around(img v1.Image) ([]v1.Layer, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	return slices.Concat([]v1.Layer{f.touch}, layers, []v1.Layer{f.cover}), nil
}
