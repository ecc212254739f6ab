# Sourced by the other scripts.
by_count() {
    sort -k2,2nr -k1,1n "$1"
}
