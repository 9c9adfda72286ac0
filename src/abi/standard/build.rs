fn main() {
    mayfly_generate::build(mayfly_generate::Family::Standard, "libmpi_abi.so.1");
}
