// Package images finds container images wherever a user keeps them.
//
// In: image references, and Sources: OCI layouts and docker-save archives, a
// Docker daemon, registries with mirrors, folders with a Dockerfile. Out:
// v1.Image and v1.ImageIndex for one platform, read lazily and verified inside
// Read, and Pins: the digest that each reference stood for.
//
// What comes over a network is kept in a content store (store.go), laid out
// like an OCI layout, so that each blob is downloaded once, cut downloads are
// resumed (download.go), and a later build works offline; List and Prune
// (prune.go) look after it.
//
// Open sources.go first, then places.go: the order in which places are asked.
// Then registry.go, layout.go, archive.go, daemon.go and folder.go: one place
// each. presence.go tells a damaged copy from one of some platforms.
package images
