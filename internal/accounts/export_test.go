package accounts

// Rewrite lets the tests see access lists that no kernel would store.
func Rewrite(o Owners, list []byte) ([]byte, bool, error) { return o.rewrite(list) }
