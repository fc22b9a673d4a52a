#pragma once
// The memory of the emulated device: one range of addresses that is readable only while somebody has it open.

#include <cstddef>
#include <map>

namespace emulation {

class Arena {
 public:
  Arena();
  static std::size_t rounded(std::size_t bytes);

  /// A block, or null when there is no room.
  void* take(std::size_t bytes);
  /// False if no block begins here.
  bool give_back(void* data);
  /// The block that begins here is taken again for so many bytes, which round to its size.
  void resize(void* data, std::size_t bytes);
  /// The size of a block that begins here; 0 if none does.
  std::size_t size_of(const void* data) const;
  /// From this address to the end of what was asked for in the block around it; 0 outside of blocks.
  std::size_t bytes_behind(const void* data) const;
  bool holds(const void* p) const;

  // Makes the memory that was ever used accessible while alive.
  class Open {
   public:
    explicit Open(Arena& arena);
    ~Open();
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Arena& arena_;
  };

 private:
  struct Block {
    std::size_t size, asked;
  };
  void protect(int access);
  std::size_t offset_of(const void* p) const;

  unsigned char* base_;
  std::map<std::size_t, std::size_t> free_;  // offset -> bytes
  std::map<std::size_t, Block> used_;        // offset -> block
  std::size_t high_ = 0;
  int opened_ = 0;
};

Arena& arena();

}  // namespace emulation
