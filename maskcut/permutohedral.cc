// Filtering on the lattice that permutohedral_build.cc made. A row of C channels is one vector of the compiler's, in
// the base instruction set: the loops wait for memory and not for arithmetic, and so all machines of one architecture
// compute the same bits.
#include "usol/maskcut/permutohedral.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

template <int C>
struct RowOf {
  using type [[gnu::vector_size(sizeof(float) * C)]] = float;
  using bits [[gnu::vector_size(sizeof(float) * C)]] = std::int32_t;
};
template <>
struct RowOf<1> {
  using type = float;
  using bits = std::int32_t;
};
template <int C>
using Row = typename RowOf<C>::type;
template <int C>
using Bits = typename RowOf<C>::bits;

template <int C>
Row<C> load(const float* from) {
  Row<C> row;
  std::memcpy(&row, from, sizeof(row));
  return row;
}
// The row if `mask` is all ones, zeros if it is 0.
template <int C>
Row<C> keep_if(Row<C> row, std::int32_t mask) {
  return std::bit_cast<Row<C>>(std::bit_cast<Bits<C>>(row) & mask);
}
template <class V>
void store(V row, float* to) {
  std::memcpy(to, &row, sizeof(row));
}

}  // namespace

template <int C>
LatticePass<C>::LatticePass(const Permutohedral& lattice)
    : lattice_(lattice),
      rows_(static_cast<std::size_t>(lattice.vertices() * C)),
      partial_(lattice.slot_vertex_.size() * C) {}

template <int C>
void LatticePass<C>::splat(std::int64_t block, const float* in) {
  const int corners = lattice_.dims_ + 1;
  const std::int64_t first = lattice_.block_begin(block), last = lattice_.block_end(block);
  float* rows = partial_.data() + std::int64_t{lattice_.slot_begin_[block]} * C;
  std::fill(rows, partial_.data() + std::int64_t{lattice_.slot_begin_[block + 1]} * C, 0.0f);
  const std::uint16_t* corner = lattice_.corner_.data() + first * corners;
  const float* weight = lattice_.weight_.data() + first * corners;
  for (std::int64_t i = first; i < last; ++i, in += C) {
    const auto value = load<C>(in);
    for (int r = 0; r < corners; ++r) {
      float* row = rows + std::size_t{*corner++} * C;
      store(load<C>(row) + *weight++ * value, row);
    }
  }
}

// Both loops below have no branch on where a group ends: groups are short, and guessing wrong costs more than the work.
template <int C>
void LatticePass<C>::blur() {
  const auto for_pieces = [](const Permutohedral::Groups& groups, auto&& work) {
    const std::int64_t count = static_cast<std::int64_t>(groups.pieces.size()) - 1;
    parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      if (begin < end)
        work(groups.indices.data() + groups.pieces[begin], groups.indices.data() + groups.pieces[end], begin);
    });
  };
  for_pieces(lattice_.slots_, [&](const std::int32_t* at, const std::int32_t* end, std::int64_t piece) {
    float* row = rows_.data() + std::int64_t{lattice_.first_vertex_[piece]} * C;
    Row<C> sum{};
    for (; at < end; ++at) {
      const std::int32_t last = *at >> 31;  // all ones or all zeros
      sum += load<C>(&partial_[static_cast<std::size_t>(*at ^ last) * C]);
      store(sum, row);
      sum = keep_if<C>(sum, ~last);
      row += C & last;
    }
  });
  // In place along each run: only the old value of the vertex behind has to be remembered.
  for (const auto& runs : lattice_.runs_)
    for_pieces(runs, [&](const std::int32_t* at, const std::int32_t* end, std::int64_t) {
      std::int32_t last = 0;
      float* row = rows_.data() + std::int64_t{*at} * C;  // a first of at least two: not negative
      Row<C> behind{}, here = load<C>(row);
      for (++at; at < end; ++at) {
        const std::int32_t more = ~last;
        last = *at >> 31;
        float* next_row = rows_.data() + std::int64_t{*at ^ last} * C;
        const Row<C> next = load<C>(next_row);
        store(here + 0.5f * (behind + keep_if<C>(next, more)), row);
        behind = keep_if<C>(here, more);
        here = next;
        row = next_row;
      }
      store(here + 0.5f * behind, row);
    });
}

template <int C>
void LatticePass<C>::add_slice(std::int64_t block, float* out) {
  const int corners = lattice_.dims_ + 1;
  const std::int64_t first = lattice_.block_begin(block), last = lattice_.block_end(block);
  const std::int64_t slot_begin = lattice_.slot_begin_[block], slot_end = lattice_.slot_begin_[block + 1];
  float* rows = partial_.data() + slot_begin * C;
  for (std::int64_t s = slot_begin; s < slot_end; ++s)
    store(load<C>(&rows_[static_cast<std::size_t>(lattice_.slot_vertex_[s]) * C]), &partial_[s * C]);
  const std::uint16_t* corner = lattice_.corner_.data() + first * corners;
  const float* weight = lattice_.weight_.data() + first * corners;
  const float gain = lattice_.gain();
  for (std::int64_t i = first; i < last; ++i, out += C) {
    Row<C> sum{};
    for (int r = 0; r < corners; ++r) sum += *weight++ * load<C>(rows + std::size_t{*corner++} * C);
    store(load<C>(out) + gain * sum, out);
  }
}

template class LatticePass<1>;
template class LatticePass<2>;
template class LatticePass<4>;

namespace {

// Channels [begin, begin + used) of in and out.
template <int C>
void filter_some(const Permutohedral& lattice, const float* in, float* out, int channels, int begin, int used) {
  LatticePass<C> pass(lattice);
  const auto for_blocks = [&](auto&& work) {
    parallel_for_each(0, lattice.blocks(), [&](std::int64_t block) {
      const std::int64_t first = lattice.block_begin(block), count = lattice.block_end(block) - first;
      std::vector<float> buffer(static_cast<std::size_t>(count * C));
      work(block, buffer, first * channels + begin);
    });
  };
  for_blocks([&](std::int64_t block, std::vector<float>& buffer, std::int64_t offset) {
    for (std::size_t i = 0; i < buffer.size() / C; ++i)
      std::copy_n(in + offset + static_cast<std::int64_t>(i) * channels, used, &buffer[i * C]);
    pass.splat(block, buffer.data());
  });
  pass.blur();
  for_blocks([&](std::int64_t block, std::vector<float>& buffer, std::int64_t offset) {
    pass.add_slice(block, buffer.data());
    for (std::size_t i = 0; i < buffer.size() / C; ++i)
      std::copy_n(&buffer[i * C], used, out + offset + static_cast<std::int64_t>(i) * channels);
  });
}

}  // namespace

void Permutohedral::filter(std::span<const float> in, std::span<float> out, int channels) const {
  check(channels >= 1 && in.size() == static_cast<std::size_t>(points_ * channels) && out.size() == in.size(),
        "permutohedral: expected {} x {} values in and out, got {} and {}", points_, channels, in.size(), out.size());
  for (int begin = 0; begin < channels; begin += 4) {
    const int used = std::min(4, channels - begin);
    if (used > 2)
      filter_some<4>(*this, in.data(), out.data(), channels, begin, used);
    else if (used == 2)
      filter_some<2>(*this, in.data(), out.data(), channels, begin, used);
    else
      filter_some<1>(*this, in.data(), out.data(), channels, begin, used);
  }
}

float Permutohedral::gain() const { return 1.0f / (1.0f + std::exp2(static_cast<float>(-dims_))); }

Permutohedral::Lists Permutohedral::lists() const {
  const std::int64_t corners = dims_ + 1;
  const auto slots = static_cast<std::int64_t>(slot_vertex_.size());
  Lists lists;
  lists.vertex.resize(corner_.size());
  lists.corner.resize(corner_.size());
  lists.slot_begin.assign(static_cast<std::size_t>(slots + 1), 0);
  const auto for_corners = [&](auto&& work) {
    for (std::int64_t block = 0; block < blocks(); ++block)
      for (std::int64_t i = block_begin(block) * corners; i < block_end(block) * corners; ++i)
        work(i, slot_begin_[block] + corner_[i]);
  };
  for_corners([&](std::int64_t i, std::int32_t slot) {
    lists.vertex[i] = slot_vertex_[slot];
    ++lists.slot_begin[slot + 1];
  });
  for (std::int64_t s = 0; s < slots; ++s) lists.slot_begin[s + 1] += lists.slot_begin[s];
  std::vector<std::int32_t> at(lists.slot_begin.begin(), lists.slot_begin.end() - 1);
  for_corners([&](std::int64_t i, std::int32_t slot) { lists.corner[at[slot]++] = static_cast<std::int32_t>(i); });

  lists.vertex_begin.push_back(0);
  for (const std::int32_t index : slots_.indices) {
    lists.slot.push_back(index < 0 ? ~index : index);
    if (index < 0) lists.vertex_begin.push_back(static_cast<std::int32_t>(lists.slot.size()));
  }
  lists.behind.assign(static_cast<std::size_t>(corners * vertices_), -1);
  lists.ahead = lists.behind;
  for (std::int64_t axis = 0; axis < corners; ++axis) {
    std::int32_t previous = -1;
    for (const std::int32_t index : runs_[axis].indices) {
      const std::int32_t vertex = index < 0 ? ~index : index;
      if (previous >= 0) {
        lists.behind[axis * vertices_ + vertex] = previous;
        lists.ahead[axis * vertices_ + previous] = vertex;
      }
      previous = index < 0 ? -1 : vertex;
    }
  }
  return lists;
}

void Permutohedral::scale(std::span<const float> factors) {
  check(factors.size() == static_cast<std::size_t>(points_), "permutohedral: expected {} factors, got {}", points_,
        factors.size());
  const int corners = dims_ + 1;
  parallel_for(0, points_, kBlock, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      for (int r = 0; r < corners; ++r) weight_[i * corners + r] *= factors[i];
  });
}

}  // namespace usol::maskcut
