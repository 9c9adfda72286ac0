/* Cartesian grids, graphs and distributed graphs. */
#include "check.h"

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int dims[3] = {0, 0, 0}, periods[2] = {1, 0}, coords[2], got[2], wraps[2], from, to, kind, n, r;
    MPI_Dims_create(size, 2, dims);
    tell("dims of %d: %d x %d\n", size, dims[0], dims[1]);
    MPI_Dims_create(24, 3, (dims[2] = 0, got[0] = dims[0], got[1] = dims[1], dims[0] = dims[1] = 0, dims));
    tell("dims of 24: %d x %d x %d\n", dims[0], dims[1], dims[2]);
    dims[0] = got[0], dims[1] = got[1];
    MPI_Comm grid, row, graph, dist;
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &grid);
    MPI_Topo_test(grid, &kind);
    CHECK(kind == MPI_CART);
    MPI_Topo_test(MPI_COMM_WORLD, &kind);
    CHECK(kind == MPI_UNDEFINED);
    MPI_Cartdim_get(grid, &n);
    SAME(n, 2);
    MPI_Cart_get(grid, 2, got, wraps, coords);
    CHECK(got[0] == dims[0] && got[1] == dims[1] && wraps[0] == 1 && wraps[1] == 0);
    SAME(coords[0] * dims[1] + coords[1], rank);
    MPI_Cart_rank(grid, coords, &r);
    SAME(r, rank);
    coords[0] += dims[0];
    MPI_Cart_rank(grid, coords, &r);
    SAME(r, rank);
    MPI_Cart_coords(grid, size - 1, 2, coords);
    CHECK(coords[0] == dims[0] - 1 && coords[1] == dims[1] - 1);
    MPI_Cart_coords(grid, rank, 2, coords);
    MPI_Cart_shift(grid, 0, 1, &from, &to);
    SAME(to, (coords[0] + 1) % dims[0] * dims[1] + coords[1]);
    SAME(from, (coords[0] + dims[0] - 1) % dims[0] * dims[1] + coords[1]);
    MPI_Cart_shift(grid, 1, 1, &from, &to);
    CHECK(coords[1] == dims[1] - 1 ? to == MPI_PROC_NULL : to == rank + 1);
    CHECK(coords[1] == 0 ? from == MPI_PROC_NULL : from == rank - 1);
    int remain[2] = {0, 1};
    MPI_Cart_sub(grid, remain, &row);
    MPI_Comm_size(row, &n);
    SAME(n, dims[1]);
    MPI_Comm_rank(row, &n);
    SAME(n, coords[1]);
    MPI_Comm_free(&row);
    MPI_Comm_free(&grid);

    /* A ring as a graph. */
    int index[64], edges[128], neighbors[8];
    for (int i = 0; i < size; i++) {
        index[i] = 2 * (i + 1);
        edges[2 * i] = (i + size - 1) % size;
        edges[2 * i + 1] = (i + 1) % size;
    }
    MPI_Graph_create(MPI_COMM_WORLD, size, index, edges, 0, &graph);
    MPI_Topo_test(graph, &kind);
    CHECK(kind == MPI_GRAPH);
    MPI_Graphdims_get(graph, &n, &r);
    CHECK(n == size && r == 2 * size);
    MPI_Graph_neighbors_count(graph, rank, &n);
    SAME(n, 2);
    MPI_Graph_neighbors(graph, rank, 2, neighbors);
    CHECK(neighbors[0] == (rank + size - 1) % size && neighbors[1] == (rank + 1) % size);
    int all_index[64], all_edges[128];
    MPI_Graph_get(graph, size, 2 * size, all_index, all_edges);
    CHECK(!memcmp(all_index, index, sizeof(int) * (size_t)size) && !memcmp(all_edges, edges, sizeof(int) * 2 * (size_t)size));
    MPI_Comm_free(&graph);

    int left = (rank + size - 1) % size, right = (rank + 1) % size, weight = rank + 1, in, out, weighted;
    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 1, &left, MPI_UNWEIGHTED, 1, &right, MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &dist);
    MPI_Topo_test(dist, &kind);
    CHECK(kind == MPI_DIST_GRAPH);
    MPI_Dist_graph_neighbors_count(dist, &in, &out, &weighted);
    CHECK(in == 1 && out == 1 && !weighted);
    MPI_Dist_graph_neighbors(dist, 1, &from, MPI_UNWEIGHTED, 1, &to, MPI_UNWEIGHTED);
    CHECK(from == left && to == right);
    MPI_Comm_free(&dist);
    /* Each names the edge of its left neighbour. */
    int degree = 1, weight_in, weight_out;
    MPI_Dist_graph_create(MPI_COMM_WORLD, 1, &left, &degree, &rank, &weight, MPI_INFO_NULL, 0, &dist);
    MPI_Dist_graph_neighbors_count(dist, &in, &out, &weighted);
    CHECK(in == 1 && out == 1 && weighted);
    MPI_Dist_graph_neighbors(dist, 1, &from, &weight_in, 1, &to, &weight_out);
    CHECK(from == left && to == right);
    SAME(weight_in, rank + 1);
    SAME(weight_out, right + 1);
    MPI_Comm_free(&dist);
    return end("topology");
}
