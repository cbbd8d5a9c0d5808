activation {
	thin_pool_autoextend_threshold = 70
	thin_pool_autoextend_percent = 20
}
