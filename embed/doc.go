// Package embed puts container images into HookOS: a list of wanted images
// goes in, Docker's own store comes out, as layers of a root file system.
//
// What is wanted comes from an EKS Anywhere bundle (bundle.go), from
// upstream's images.txt (imagesfile.go), from references (want.go) or from an
// OCI layout that Export wrote (export.go, dest.go, readexport.go); Merge makes
// one set of them. The caller finds the images; NewStore (store.go) then lays
// them out as dockerd's overlay2 graph driver has them in /var/lib/docker:
// layers, image IDs and digests are kept, so that dockerd finds them when it
// starts and has nothing to load. No daemon is asked, and nobody has to be
// root: the files of each layer come out of the image layer's tar while it is
// read (translate.go), so that nothing need be unpacked, and the same image
// gives the same bytes.
//
// Open store.go first, then layer.go and translate.go.
package embed
