// Package publish puts a set of artifacts, the folder that hooksmith build
// writes, where machines boot from, and gets such sets back (Fetch).
//
// A set first goes below its id (verify.ID), is read back and verified there,
// and only then do the stable names, vmlinuz-x86_64 and the others, switch to
// it. How at once they switch depends on the store:
//
//   - a folder, SFTP: all names go through one symbolic link, which is renamed;
//   - oci://: one manifest has all files, and a tag names it;
//   - object stores, WebDAV: name by name, each atomically, every initramfs
//     just before its kernel. With an unchanged kernel that is one step. Else a
//     client between its two requests can get both from different builds; the
//     URL with the id, which never changes, excludes that. A switch that is cut
//     off is undone, or if that was cut off too, completed by the next command.
//
// .hooksmith/index.json in the destination knows the sets. Start in
// publish.go: Publish.
package publish
