// How much memory a launch of a kernel reads and writes, by the values of its arguments. From this come the counts of bytes, and the
// check that a kernel stays within what it was given.
//
// The rules, by what the kernel is given. Every element of a tensor counts once, however often the kernel touches it.
//
// - affine, unary, binary, cast, where, const_set, fill: `numel` elements are written. Of an input with strides, as many are read as it
//   has different ones: a broadcast dimension counts once. In place (a null input), the output is read too.
// - copy2d: d1 × d2 elements are read and written.
// - index_select, gather: the indices and `numel` elements are read, `numel` are written. index_add, scatter, scatter_add: the
//   indices and the source are read; as many elements of the output are written, and read where they are added to.
// - reductions: the source is read, one element a block (fast_sum_small: `dst_el`) is written. sum_*: the output is read as well.
// - softmax and norms: rows × columns are read and written; a norm's weights are read once.
// - rope: the source and the tables of sines and cosines are read, as much as the source is written.
// - conv, conv_transpose, pooling, upsampling, im2col: the source and the kernel are read, the output is written.
// - argsort: rows × columns are read, as many indices are written.
#include "device.h"

#include <algorithm>
#include <cstring>

namespace soft {
namespace {

struct Arguments {
    const Kernel &kernel;
    void **parameters;

    int position(const char *name) const {
        const std::size_t length = std::strlen(name);
        int i = 0;
        for (const char *at = kernel.parameter_names; *at; i++) {
            const char *end = std::strchr(at, ',');
            const std::size_t size = end ? std::size_t(end - at) : std::strlen(at);
            if (size == length && std::memcmp(at, name, length) == 0) return i;
            if (!end) break;
            at = end + 1;
        }
        return -1;
    }
    bool has(const char *name) const { return position(name) >= 0; }
    std::uint64_t value(const char *name) const {
        const int i = position(name);
        if (i < 0) abort_with("rules.cpp: kernel %s has no parameter %s", kernel.name, name);
        std::uint64_t value = 0;
        std::memcpy(&value, parameters[i], std::min<std::size_t>(8, kernel.parameters[i].size));
        return value;
    }
};

struct Strided {
    std::uint64_t elements = 1, span = 1;
};

Strided strided(const std::uint64_t *dims, const std::uint64_t *strides, std::uint64_t count) {
    Strided all;
    for (std::uint64_t i = 0; i < count; i++) {
        if (dims[i] == 0) return {0, 0};
        if (dims[i] > 1 && strides[i] != 0) {
            all.elements *= dims[i];
            all.span += (dims[i] - 1) * strides[i];
        }
    }
    return all;
}

// Whether each element follows the one before.
bool contiguous(const std::uint64_t *dims, const std::uint64_t *strides, std::uint64_t count) {
    std::uint64_t apart = 1;
    for (std::uint64_t i = count; i-- > 0; apart *= dims[i])
        if (dims[i] > 1 && strides[i] != apart) return false;
    return true;
}

Strided plain(std::uint64_t elements) { return {elements, elements}; }

} // namespace

bool extents(const Kernel &kernel, const Launch &launch, void **parameters, Extent *of) {
    const Arguments a{kernel, parameters};
    const std::string name = kernel.name;
    const auto begins = [&](const char *text) { return name.rfind(text, 0) == 0; };
    for (int i = 0; i < kernel.count; i++) of[i] = {0, 0, false, false};
    const auto set = [&](const char *parameter, Strided extent, bool also = false) {
        const int i = a.position(parameter);
        if (i >= 0) of[i] = {extent.elements, extent.span, false, also};
    };
    // The array of dimensions and strides: `count` numbers on the device. Null: all is contiguous.
    const auto info = [&](const char *parameter, std::uint64_t count, bool optional) -> const std::uint64_t * {
        const std::uint64_t address = a.value(parameter);
        set(parameter, plain(count));
        of[a.position(parameter)].optional = optional;
        std::string why;
        return address && in_allocation(address, count * 8, &why) ? reinterpret_cast<const std::uint64_t *>(address) : nullptr;
    };

    if (begins("fill_")) {
        set("buf", plain(a.value("numel")));
    } else if (begins("copy2d_")) {
        const auto d1 = a.value("d1"), d2 = a.value("d2");
        const auto span = [&](const char *stride) { return d1 && d2 ? (d1 - 1) * a.value(stride) + d2 : 0; };
        set("src", {d1 * d2, span("src_s")});
        set("dst", {d1 * d2, span("dst_s")});
    } else if (a.has("lhs")) { // binary
        const auto numel = a.value("numel"), dims = a.value("num_dims");
        const auto *d = info("dims_and_strides", 3 * dims, true);
        set("lhs", d ? strided(d, d + dims, dims) : plain(numel));
        set("rhs", d ? strided(d, d + 2 * dims, dims) : plain(numel));
        set("out", plain(numel));
    } else if (begins("where_")) {
        const auto numel = a.value("numel"), dims = a.value("num_dims");
        const auto *d = info("info", 4 * dims, false);
        if (d) {
            set("ids", strided(d, d + dims, dims));
            set("t", strided(d, d + 2 * dims, dims));
            set("f", strided(d, d + 3 * dims, dims));
        }
        set("out", plain(numel));
    } else if (begins("is_")) {
        const auto numel = a.value("numel"), dims = a.value("num_dims");
        const auto *d = info("info", 2 * dims, false);
        const auto whole = a.value("left_size") * a.value("src_dim_size") * a.value("right_size");
        set("ids", plain(a.value("ids_dim_size")));
        // The shape is that of the indices. Where these have gaps, the kernel takes their strides for the source's.
        set("inp", {std::min(numel, whole), d && !contiguous(d, d + dims, dims) ? strided(d, d + dims, dims).span : whole});
        set("out", plain(numel));
    } else if (begins("gather_")) {
        const auto numel = a.value("numel"), whole = a.value("left_size") * a.value("src_dim_size") * a.value("right_size");
        set("ids", plain(numel));
        set("inp", {std::min(numel, whole), whole});
        set("out", plain(numel));
    } else if (begins("ia_") || begins("s_") || begins("sa_")) {
        const auto left = a.value("left_size"), right = a.value("right_size");
        const auto source = begins("ia_") ? a.value("ids_dim_size") : a.value("src_dim_size");
        set("ids", plain(begins("ia_") ? source : left * source * right));
        set("inp", plain(left * source * right));
        const auto whole = left * a.value("dst_dim_size") * right;
        set("out", {std::min(left * source * right, whole), whole}, !begins("s_"));
    } else if (begins("fast_")) {
        const auto dims = a.value("num_dims"), each = a.value("el_to_sum_per_block");
        const auto outputs = a.has("dst_el") ? a.value("dst_el") : launch.grid[0];
        const auto *d = info("info", 2 * dims, false);
        set("src", d ? strided(d, d + dims, dims) : plain(outputs * each));
        set("dst", plain(outputs));
    } else if (begins("sum_")) {
        const auto dims = a.value("num_dims"), sums = a.value("num_sum_dims");
        const auto *d = info("info", 2 * dims + 2 * sums, false);
        std::uint64_t outputs = a.value("numel");
        for (std::uint64_t i = 0; d && i < sums; i++) outputs /= std::max<std::uint64_t>(1, d[2 * dims + i]);
        set("inp", d ? strided(d, d + dims, dims) : plain(a.value("numel")));
        set("out", plain(outputs), true);
    } else if (begins("softmax_") || begins("rmsnorm_") || begins("layernorm_")) {
        const auto rows = begins("softmax_") ? std::uint64_t(launch.grid[0]) * launch.block[0] : std::uint64_t(launch.grid[0]) * launch.block[1];
        const auto columns = a.value("n_cols");
        set("src", plain(rows * columns));
        set("dst", plain(rows * columns));
        for (const char *weights : {"alpha", "beta"})
            if (a.has(weights)) {
                set(weights, plain(columns));
                of[a.position(weights)].optional = true;
            }
    } else if (begins("rope_")) {
        std::uint64_t whole, table;
        if (begins("rope_thd_")) {
            whole = a.value("b") * a.value("t") * a.value("h") * a.value("d");
            table = a.value("t") * a.value("d") / 2 * (a.value("stride_b") ? a.value("b") : 1);
        } else {
            whole = a.value("bh") * a.value("td");
            const auto stride = a.value("stride_b");
            table = a.value("td") / 2 * (stride ? whole / stride : 1);
        }
        set("src", plain(whole));
        set("dst", plain(whole));
        set("cos", plain(table));
        set("sin", plain(table));
    } else if (begins("asort_")) {
        const auto whole = std::uint64_t(launch.grid[0]) * a.value("ncols");
        set("x", plain(whole));
        set("dst", plain(whole));
    } else if (begins("col2im1d_")) {
        const auto outputs = a.value("dst_el");
        const auto batch = outputs / std::max<std::uint64_t>(1, a.value("c_out") * a.value("l_out"));
        set("src", plain(batch * a.value("l_in") * a.value("c_out") * a.value("k_size")));
        set("dst", plain(outputs));
    } else if (a.has("info") && a.has("src")) { // convolutions, pooling, upsampling, im2col: `info` begins with the source's shape
        const bool one = name.find("1d") != std::string::npos;
        const std::uint64_t rank = one ? 3 : 4;
        const auto *d = info("info", a.has("kernel") ? 4 * rank : 2 * rank, false);
        if (!d) return true;
        set("src", strided(d, d + rank, rank));
        if (a.has("kernel")) {
            set("kernel", strided(d + 2 * rank, d + 3 * rank, rank));
            const auto channels = d[2 * rank + (begins("conv_transpose") ? 1 : 0)];
            // conv1d calls the length of its output `num_dims`.
            const auto outputs = one ? a.value(a.has("l_out") ? "l_out" : "num_dims") : a.value("w_out") * a.value("h_out");
            set("dst", plain(d[0] * channels * outputs));
        } else if (begins("im2col1d_")) {
            set("dst", plain(a.value("dst_numel") * a.value("l_k")));
        } else if (begins("im2col_")) {
            set("dst", plain(a.value("dst_numel")));
        } else if (begins("upsample_")) {
            set("dst", plain(d[0] * d[1] * a.value("w_out") * a.value("h_out")));
        } else {
            const auto w = (d[2] - a.value("w_k")) / a.value("w_stride") + 1, h = (d[3] - a.value("h_k")) / a.value("h_stride") + 1;
            set("dst", plain(d[0] * d[1] * w * h));
        }
    } else if (a.has("numel") && a.has("info") && a.has("out")) { // affine, unary, cast, const_set
        const auto numel = a.value("numel"), dims = a.value("num_dims");
        const auto *d = info("info", 2 * dims, true);
        const auto input = a.position("inp");
        if (input >= 0 && kernel.parameters[input].pointer) {
            const bool in_place = a.value("inp") == 0;
            set("inp", in_place ? plain(0) : d ? strided(d, d + dims, dims) : plain(numel));
            of[input].optional = true;
            set("out", plain(numel), in_place);
        } else {
            set("out", d ? strided(d, d + dims, dims) : plain(numel));
        }
    } else {
        return false;
    }
    return true;
}

} // namespace soft
