package devlink

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// superblocks is how much of a device is looked at: btrfs has its superblock at 64 KiB.
const superblocks = 0x10000 + 0x300

// contents are the links by what is on a device.
func contents(dev string) []string {
	file, err := os.OpenFile(dev, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	head := make([]byte, superblocks)
	n, _ := io.ReadFull(file, head)
	uuid, label := probe(head[:n])
	var links []string
	if uuid != "" {
		links = append(links, "disk/by-uuid/"+uuid)
	}
	if label = clean(label); label != "" {
		links = append(links, "disk/by-label/"+label)
	}
	return links
}

// format is a file system by its magic number.
type format struct {
	at    int
	magic string
	uuid  func(head []byte) string
	label [2]int // begin and length
}

var formats = []format{
	{0x438, "\x53\xef", uuidAt(0x468), [2]int{0x478, 16}},                    // ext2, ext3, ext4
	{0, "XFSB", uuidAt(32), [2]int{108, 12}},                                 // xfs
	{0x10040, "_BHRfS_M", uuidAt(0x10020), [2]int{0x1012b, 256}},             // btrfs
	{4096 - 10, "SWAPSPACE2", uuidAt(1024 + 12), [2]int{1052, 16}},           // swap
	{0x52, "FAT32   ", serialAt(0x43), [2]int{0x47, 11}},                     // vfat: an EFI system partition
	{0x36, "FAT1", serialAt(0x27), [2]int{0x2b, 11}},                         // vfat, small
	{0x8001, "CD001", func([]byte) string { return "" }, [2]int{0x8028, 32}}, // ISO 9660
}

// probe finds the UUID and label of the file system that begins with head.
func probe(head []byte) (uuid, label string) {
	for _, f := range formats {
		end := f.label[0] + f.label[1]
		if len(head) < max(end, f.at+len(f.magic)) || string(head[f.at:f.at+len(f.magic)]) != f.magic {
			continue
		}
		text, _, _ := bytes.Cut(head[f.label[0]:end], []byte{0})
		label = strings.TrimSpace(string(text))
		if label == "NO NAME" {
			label = ""
		}
		return f.uuid(head), label
	}
	return "", ""
}

// uuidAt reads sixteen bytes as a UUID, "" for zeros.
func uuidAt(at int) func([]byte) string {
	return func(head []byte) string {
		if len(head) < at+16 || bytes.Equal(head[at:at+16], make([]byte, 16)) {
			return ""
		}
		h := hex.EncodeToString(head[at : at+16])
		return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	}
}

// serialAt reads the volume number of a FAT file system, as blkid writes it.
func serialAt(at int) func([]byte) string {
	return func(head []byte) string {
		serial := binary.LittleEndian.Uint32(head[at:])
		return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)
	}
}
