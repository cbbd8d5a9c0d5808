package derive

// The readers of other programs' files, for fuzzing without a tree.
var (
	ParseSELinux = parseSELinux
	FstabTypes   = fstabTypes
	Significant  = significant
)

// CrypttabFor is [earlyCrypttab] for dracut or for mkinitramfs.
func CrypttabFor(dracutReads bool, crypttab []byte, unlock ...string) []byte {
	if dracutReads {
		return earlyCrypttab(crypttab, dracut, unlock)
	}
	return earlyCrypttab(crypttab, initramfsTools, unlock)
}
