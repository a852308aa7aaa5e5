package debian

import "path"

// topVersion is part of the hash of every image. It must change with whatever
// changes the bytes of the layers that an image generates.
const topVersion = "1"

const (
	busyboxPath = "usr/bin/busybox"
	certsPath   = "etc/ssl/certs/ca-certificates.crt"
)

// skeleton returns what the maintainer scripts of Debian's essential packages
// would have made: folders, the links of the merged /usr, accounts.
func skeleton(arch string) []File {
	out := []File{
		{Path: "root", Directory: true, Mode: "0700"},
		{Path: "tmp", Directory: true, Mode: "1777"},
		{Path: "var/tmp", Directory: true, Mode: "1777"},
		{Path: "var/run", Symlink: "/run"},
		{Path: "etc/passwd", Contents: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
		{Path: "etc/shadow", Contents: "root:*:19700:0:99999:7:::\nnobody:*:19700:0:99999:7:::\n", Mode: "0640", GID: 42},
		{Path: "etc/nsswitch.conf", Contents: "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"},
		{Path: "etc/hosts", Contents: "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
	}
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "usr", "var", "var/lib", "var/log"} {
		out = append(out, File{Path: dir, Directory: true})
	}
	merged := []string{"bin", "lib", "sbin"}
	if arch == "amd64" {
		merged = append(merged, "lib64") // where its dynamic linker is looked for
	}
	for _, dir := range merged {
		out = append(out, File{Path: dir, Symlink: "usr/" + dir}, File{Path: "usr/" + dir, Directory: true})
	}
	return out
}

// groups is /etc/group with the numbers of Debian's base-passwd.
const groups = "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nshadow:x:42:\nutmp:x:43:\nnogroup:x:65534:\n"

// postinst returns what the maintainer scripts of the image's packages would
// have made.
func (p *Plan) postinst() []File {
	group := groups
	if p.has("docker.io") {
		group += "docker:x:999:\n" // dockerd gives its socket to this group
	}
	out := []File{{Path: "etc/group", Contents: group}}
	if p.has("iptables") {
		for _, name := range []string{"iptables", "ip6tables"} {
			for _, suffix := range []string{"", "-save", "-restore"} { // update-alternatives --set iptables iptables-nft
				out = append(out, File{Path: path.Join("usr/sbin", name+suffix), Symlink: "xtables-nft-multi"})
			}
		}
	}
	return out
}
