fn main() {
    mayfly_generate::build(mayfly_generate::Family::OpenMpi, "libmpi.so.40");
}
