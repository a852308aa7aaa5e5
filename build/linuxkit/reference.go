package linuxkit

import "strings"

// ReferenceExpand completes an image reference as LinuxKit does: "alpine"
// becomes docker.io/library/alpine:latest, "linuxkit/init:v1" becomes
// docker.io/linuxkit/init:v1; a reference with a registry gets a tag at most.
// The empty reference stays empty.
func ReferenceExpand(ref string) string {
	if ref == "" {
		return ""
	}
	parts := strings.Split(ref, "/")
	switch {
	case len(parts) == 1:
		ref = "docker.io/library/" + ref
	case len(parts) == 2 && !strings.ContainsAny(parts[0], ".:") && parts[0] != "localhost":
		ref = "docker.io/" + ref
	}
	if tag, digest := refSuffix(ref); tag == "" && digest == "" {
		ref += ":latest"
	}
	return ref
}

// refSuffix returns the tag and the digest of a reference.
func refSuffix(ref string) (tag, digest string) {
	ref, digest, _ = strings.Cut(ref, "@")
	if _, after, ok := strings.Cut(ref[strings.LastIndexByte(ref, '/')+1:], ":"); ok {
		tag = after
	}
	return tag, digest
}
