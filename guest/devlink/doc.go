// Package devlink gives disks the stable names that udev would: /dev/disk/by-id, by-path, by-uuid, by-label,
// by-partuuid and by-partlabel. Workflows name disks that way, for sda can be another disk tomorrow.
//
// In go names of block devices as they come and go (Keeper), out come symbolic links. identity.go has the names from
// what the hardware says of itself, path.go those from where it is plugged in, superblock.go those from its contents.
package devlink
