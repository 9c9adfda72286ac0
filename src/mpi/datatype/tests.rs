//! Property tests against a naive expansion of the typemap.

use super::*;
use crate::base::constant::handle;

#[test]
fn predefined_measures() {
    let types = Types::new();
    let pair = types.get(handle::DOUBLE_INT).unwrap();
    assert_eq!(
        (pair.size(), pair.extent(), pair.true_extent()),
        (12, 16, 12)
    );
    let pair = types.get(handle::LONG_DOUBLE_INT).unwrap();
    assert_eq!((pair.size(), pair.extent()), (20, 32));
    let pair = types.get(handle::SHORT_INT).unwrap();
    assert_eq!((pair.size(), pair.extent()), (6, 8));
}
