package devlink

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Keeper keeps the links of the disks there are. The zero value works on /sys and /dev.
type Keeper struct {
	Sys, Dev string

	mu    sync.Mutex
	links map[string][]string // by name of device
}

func (k *Keeper) sys() string { return or(k.Sys, "/sys") }
func (k *Keeper) dev() string { return or(k.Dev, "/dev") }

func or(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}

// Scan adds all disks and partitions that are there.
func (k *Keeper) Scan() {
	entries, _ := os.ReadDir(filepath.Join(k.sys(), "class/block"))
	var wg sync.WaitGroup
	for _, e := range entries {
		wg.Go(func() { k.Add(e.Name()) })
	}
	wg.Wait()
}

// Add makes the links of a device, or makes them anew after a change. It reads the device, which may take long when that
// is broken, so let it run beside others: the order of calls does not matter.
func (k *Keeper) Add(name string) {
	if passedOver(name) {
		return
	}
	d := device{sys: k.sys(), name: name}
	links := append(d.identities(), d.paths()...)
	if d.attr("size") != "0" && hasMedium(filepath.Join(k.dev(), name)) {
		links = append(links, contents(filepath.Join(k.dev(), name))...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := os.Stat(d.dir()); err != nil { // it went while it was being read
		links = nil
	}
	for _, old := range k.links[name] {
		if !slices.Contains(links, old) {
			k.remove(old, name)
		}
	}
	for _, link := range links {
		k.make(link, name)
	}
	if k.links == nil {
		k.links = map[string][]string{}
	}
	k.links[name] = links
}

// Of linux/cdrom.h: what a drive says of itself, and that it has a readable disc.
const (
	cdromDriveStatus = 0x5326
	cdromDiscOK      = 4
)

// hasMedium reports whether a device may be read. An optical drive without a disc has a size all the same, and every
// attempt to read it writes a dozen errors on the console.
func hasMedium(node string) bool {
	if !strings.HasPrefix(filepath.Base(node), "sr") {
		return true
	}
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	status, err := unix.IoctlRetInt(fd, cdromDriveStatus)
	return err == nil && status == cdromDiscOK
}

// Remove takes the links of a device away.
func (k *Keeper) Remove(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, link := range k.links[name] {
		k.remove(link, name)
	}
	delete(k.links, name)
}

// Links are the links of a device, relative to /dev.
func (k *Keeper) Links(name string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.links[name])
}

// passedOver are devices that are no disks of the machine, and names that are no names.
func passedOver(name string) bool {
	for _, prefix := range []string{"ram", "zram", "fd"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && strings.Trim(rest, "0123456789") == "" {
			return true
		}
	}
	return name == "" || name == "." || strings.Contains(name, "..") || strings.Contains(name, "/")
}

// make links to a device. The first of two devices with the same name, paths to one disk, keeps it.
func (k *Keeper) make(link, name string) {
	path := filepath.Join(k.dev(), link)
	target := "../../" + name
	if was, err := os.Readlink(path); err == nil {
		if was == target {
			return
		}
		if _, err := os.Stat(path); err == nil {
			return
		}
		_ = os.Remove(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
		_ = os.Symlink(target, path)
	}
}

func (k *Keeper) remove(link, name string) {
	path := filepath.Join(k.dev(), link)
	if was, err := os.Readlink(path); err == nil && was == "../../"+name {
		_ = os.Remove(path)
	}
}
