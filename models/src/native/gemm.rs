//! Matrix products on slices: the one place that calls the `gemm` crate, which takes pointers.
//!
//! Does not know what is multiplied. Every view checks that its last element is inside its slice, so
//! the pointers handed on are valid for all that the product reads and writes.

#![expect(
    unsafe_code,
    reason = "the gemm crate takes pointers; views are checked when they are made"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use gemm::Parallelism;

/// A matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix inside a slice that can be written.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> Mat<'a> {
    /// Views `rows` rows of `columns` numbers that begin `row_stride` apart.
    ///
    /// # Panics
    /// If the slice is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Mat<'a> {
        check(data.len(), rows, columns, row_stride);
        Mat { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Transposes the view; no numbers are moved.
    pub fn t(self) -> Mat<'a> {
        Mat {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

impl<'a> MatMut<'a> {
    /// Views `rows` rows of `columns` numbers that begin `row_stride` apart.
    ///
    /// # Panics
    /// If the slice is too short.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> MatMut<'a> {
        check(data.len(), rows, columns, row_stride);
        MatMut { data, rows, columns, row_stride }
    }
}

fn check(len: usize, rows: usize, columns: usize, row_stride: usize) {
    let fits = rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= len;
    assert!(
        fits && columns <= row_stride.max(columns),
        "a {rows} x {columns} matrix of {len} numbers"
    );
    assert!(rows < 2 || columns <= row_stride, "rows of {columns} overlap at stride {row_stride}");
}

/// The shape of a product, `rows x inner` times `inner x columns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Rows of the left side and of the result.
    pub rows: usize,
    /// Columns of the left side and rows of the right side.
    pub inner: usize,
    /// Columns of the right side and of the result.
    pub columns: usize,
    /// True if the left and the right side are transposed views.
    pub transposed: [bool; 2],
}

static IS_RECORDING: AtomicBool = AtomicBool::new(false);
static RECORD: Mutex<Vec<Product>> = Mutex::new(Vec::new());

/// Records the products that the whole process computes while `work` runs, so that a bench can time them alone.
///
/// # Panics
/// If a thread panicked while it recorded.
pub fn recorded(work: impl FnOnce()) -> Vec<Product> {
    IS_RECORDING.store(true, Ordering::SeqCst);
    work();
    IS_RECORDING.store(false, Ordering::SeqCst);
    std::mem::take(&mut *RECORD.lock().expect("nobody panics here"))
}

/// Computes `dst = scale * lhs * rhs`, or adds it to `dst` if `accumulate`, on one thread.
///
/// # Panics
/// If the shapes do not match.
pub fn product(dst: MatMut<'_>, lhs: Mat<'_>, rhs: Mat<'_>, scale: f32, accumulate: bool) {
    let MatMut { data, rows: m, columns: n, row_stride } = dst;
    let k = lhs.columns;
    assert!(
        lhs.rows == m && rhs.columns == n && rhs.rows == k,
        "{} x {} times {} x {} is not {m} x {n}",
        lhs.rows,
        lhs.columns,
        rhs.rows,
        rhs.columns
    );
    if m == 0 || n == 0 {
        return;
    }
    if IS_RECORDING.load(Ordering::Relaxed) {
        let transposed = [lhs.column_stride != 1, rhs.column_stride != 1];
        let product = Product { rows: m, inner: k, columns: n, transposed };
        RECORD.lock().expect("nobody panics here").push(product);
    }
    // SAFETY: the views were checked against their slices when they were made, and `dst` is borrowed
    // mutably, so it overlaps neither of the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            data.as_mut_ptr(),
            1,
            row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(m: &Mat<'_>, i: usize, j: usize) -> f32 {
        m.data[i * m.row_stride + j * m.column_stride]
    }

    proptest! {
        #[test]
        fn a_product_of_strided_and_transposed_views_is_the_sum_of_products(
            m in 1usize..9, n in 1usize..9, k in 1usize..9, pad in 0usize..4, add in any::<bool>()
        ) {
            let numbers = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
            let (a, b) = (numbers(k * (m + pad), 0.7), numbers(k * (n + pad), 1.3));
            let (lhs, rhs) = (Mat::new(&a, k, m, m + pad).t(), Mat::new(&b, k, n, n + pad));
            let mut out = numbers(m * (n + pad), 0.3);
            let before = out.clone();
            product(MatMut::new(&mut out, m, n, n + pad), lhs, rhs, 0.5, add);
            for i in 0..m {
                for j in 0..n {
                    let sum: f32 = (0..k).map(|l| at(&lhs, i, l) * at(&rhs, l, j)).sum();
                    let want = 0.5 * sum + if add { before[i * (n + pad) + j] } else { 0.0 };
                    prop_assert!((out[i * (n + pad) + j] - want).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a 3 x 4 matrix of 11 numbers")]
    fn a_view_beyond_its_slice_is_refused() {
        let _ = Mat::new(&[0.0; 11], 3, 4, 4);
    }
}
