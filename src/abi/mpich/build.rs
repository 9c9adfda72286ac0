fn main() {
    mayfly_generate::build(mayfly_generate::Family::Mpich, "libmpi.so.12");
}
