// Package boot keeps the boot entries of layers, the kernels they start, and
// the choice of the one that boots by default.
//
// An entry is a file of the UAPI.1 Boot Loader Specification, type #1,
// /boot/loader/entries/<layer>-<kver>.conf, whatever the boot loader. It is
// ours when its options hold img.bootid=<layer>; every other entry is
// foreign, listed and never changed. Its kernel lies in /boot/<layer>/, a
// directory that belongs to that layer alone; equal files of several layers
// are hard links to one.
//
// GRUB is found in two forms. One reads the entries itself (command blscfg:
// Fedora and its kin). The other (Debian and its kin) gets an include,
// imgbase.cfg, generated from the entries and sourced from a marked block in
// custom.cfg; grub.cfg is never written. Both read the default from
// saved_entry in GRUB's environment block ([Env]).
//
// What always holds, power cuts included: the menu has no entry whose kernel
// is missing, because an entry is written after its files and removed before
// them; and the default changes in one sector of the disk, from one entry
// that boots to another.
package boot
