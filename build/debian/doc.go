// Package debian makes image layers from a signed Debian repository, without
// apt, dpkg, root or maintainer scripts.
//
// In: a Fetcher, mirrors and archive keys (Open), package names (Index), and
// image definitions in YAML (ParseDefinition). Out: a Package with its hash,
// its content as a v1.Layer (NewLayer), a definition as a v1.Image (Plan), and
// what is missing in a finished tree (CheckTree).
//
// Nothing is believed that is not signed: InRelease is verified against the
// keys, it vouches for the index, the index for each .deb. Open repository.go
// first, then definition.go and image.go.
package debian
